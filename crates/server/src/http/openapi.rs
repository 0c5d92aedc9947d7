//! The OpenAPI document, made of the table of operations and the schemas here.

use serde_json::{Map, Value, json};

use super::operations::{Gives, OPERATIONS, Operation, Takes, Verb};

/// The document (OpenAPI 3.1.0).
pub(super) fn document() -> Value {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let path = paths
            .entry(operation.path)
            .or_insert_with(|| Value::Object(Map::new()));
        if let Some(path) = path.as_object_mut() {
            path.insert(verb(operation.verb).to_owned(), described(operation));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Grapevine",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Names, access lists, servers and inboxes. Every answer says as of when it is (Grapevine-As-Of). A change gives a token (Grapevine-Seen); handed in with later requests, at any server, the answers are at least as new. Errors are problem details (RFC 9457); `kind` says what to do.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{}, { "basic": [] }, { "ticket": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "basic": { "type": "http", "scheme": "basic", "description": "An individual's name and password; inside TLS, or from the server's own machine." }, "ticket": { "type": "http", "scheme": "bearer", "description": "A ticket that /login gave, at any server." } },
            "schemas": schemas(),
        },
    })
}

fn verb(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "get",
        Verb::Post => "post",
        Verb::Put => "put",
        Verb::Delete => "delete",
    }
}

fn described(operation: &Operation) -> Value {
    let text = json!({ "type": "string" });
    let parameter = |name: &str, place: &str, required: bool| {
        let schema = match name {
            "limit" => json!({ "type": "integer", "minimum": 1 }),
            "number" | "known" => json!({ "type": "integer", "minimum": 0 }),
            "depth" => json!({ "enum": ["direct", "nested"] }),
            "list" => json!({ "enum": ["members", "owners", "friends"] }),
            _ => text.clone(),
        };
        json!({ "name": name, "in": place, "required": required, "schema": schema })
    };
    let in_path = operation
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| parameter(name, "path", true));
    let in_query = operation
        .query
        .iter()
        .map(|name| parameter(name, "query", ["who", "to"].contains(name)));
    let mut parameters: Vec<Value> = in_path.chain(in_query).collect();
    let content = match operation.gives {
        Gives::Json(schema) => json!({ "application/json": { "schema": reference(schema) } }),
        Gives::Events => {
            parameters.push(parameter("Last-Event-ID", "header", false));
            json!({ "text/event-stream": { "schema": text } })
        }
        Gives::Message => json!({ "message/rfc822": { "schema": text } }),
    };
    if matches!(operation.gives, Gives::Json(_)) {
        parameters.push(parameter("Grapevine-Seen", "header", false));
        parameters.push(parameter("If-None-Match", "header", false));
    }
    if operation.changes_an_entry() {
        parameters.push(parameter("If-Match", "header", false));
    }
    let mut value = json!({
        "operationId": format!("{:?}", operation.op),
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {
            "200": { "description": "Done", "content": content },
            "default": {
                "description": "Not done, and why",
                "content": { "application/problem+json": { "schema": reference("Problem") } },
            },
        },
    });
    let content = match operation.takes {
        Takes::Nothing => return value,
        Takes::Json(schema) => json!({ "application/json": { "schema": reference(schema) } }),
        Takes::Message => json!({ "message/rfc822": { "schema": { "type": "string" } } }),
    };
    if let Some(object) = value.as_object_mut() {
        let body = json!({ "required": true, "content": content });
        object.insert("requestBody".to_owned(), body);
    }
    value
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties })
}

fn closed(required: &[&str], properties: Value) -> Value {
    let mut schema = object(required, properties);
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("additionalProperties".to_owned(), json!(false));
    }
    schema
}

fn schemas() -> Value {
    let mut all = Map::new();
    for part in [common_schemas(), other_schemas()] {
        if let Value::Object(part) = part {
            all.extend(part);
        }
    }
    Value::Object(all)
}

/// Of what is asked and told most.
fn common_schemas() -> Value {
    let text = || json!({ "type": "string" });
    let texts = || json!({ "type": "array", "items": { "type": "string" } });
    let number = || json!({ "type": "integer" });
    let yes_or_no = || json!({ "type": "boolean" });
    let maybe_text = || json!({ "type": ["string", "null"] });
    let maybe_number = || json!({ "type": ["integer", "null"] });
    let list = || json!({ "enum": ["members", "owners", "friends"] });
    let any = || json!({});
    let suspended = || {
        let one = json!({ "member": text(), "since_ms": number(), "reason": text() });
        json!({ "type": "array", "items": object(&["member", "since_ms", "reason"], one) })
    };
    json!({
        "Document": { "type": "object" },
        "Login": closed(&[], json!({ "life_ms": maybe_number() })),
        "Ticket": object(&["ticket", "expires_ms"], json!({ "ticket": text(), "expires_ms": number() })),
        "Empty": closed(&[], json!({})),
        "NewRegistry": closed(&["registry"], json!({ "registry": text(), "holders": texts(), "registrars": texts() })),
        "Policy": { "oneOf": [
            closed(&["alone"], json!({ "alone": { "enum": ["default", "accept", "refuse"] } })),
            closed(&["stale"], json!({ "stale": { "oneOf": [
                { "enum": ["answer", "refuse"] },
                closed(&["answer-for-ms"], json!({ "answer-for-ms": number() })),
            ] } })),
            closed(&["scram"], json!({ "scram": { "enum": ["off", "on"] } })),
            closed(&["quota"], json!({ "quota": reference("Quota") })),
            closed(&["over-quota"], json!({ "over-quota": { "enum": ["later", "refuse"] } })),
            closed(&["catch-all"], json!({ "catch-all": maybe_text() })),
            closed(&["offer"], json!({ "offer": text() })),
            closed(&["withdraw"], json!({ "withdraw": text() })),
        ] },
        "NewIndividual": closed(&["name"], json!({ "name": text(), "password": maybe_text(), "sites": texts() })),
        "NewGroup": closed(&["name"], json!({ "name": text(), "remark": text(), "owners": texts() })),
        "NewPassword": closed(&["password"], json!({ "password": text() })),
        "Remark": closed(&["remark"], json!({ "remark": text() })),
        "Sites": closed(&["sites"], json!({ "sites": texts() })),
        "Forward": closed(&["forward"], json!({ "forward": texts() })),
        "Checks": closed(&["who"], json!({ "list": list(), "who": texts() })),
        "Written": object(&["done", "copies"], json!({ "done": yes_or_no(), "copies": number(), "stamp": maybe_text() })),
        "Registries": texts(),
        "Registry": object(&["registry", "holders", "registrars"], json!({
            "registry": text(), "holders": texts(), "registrars": texts(), "entries": maybe_number(),
            "ready": texts(), "policy": { "type": "object" },
        })),
        "Entry": object(&["name", "kind", "incarnation"], json!({
            "name": text(), "kind": { "enum": ["individual", "group"] }, "incarnation": text(), "remark": text(),
            "sites": texts(), "forward": texts(), "aliases": texts(), "connect_sites": texts(), "members": number(),
            "owners": texts(), "friends": texts(), "conflict": yes_or_no(), "former": texts(), "quota": reference("Quota"), "usage": { "type": ["object", "null"] },
            "posting": reference("PostingRule"), "aside": number(),
            "suspended": suspended(),
        })),
        "Entries": object(&["entries"], json!({ "entries": { "type": "array", "items": reference("Entry") }, "next": maybe_text() })),
        "Members": object(&["members"], json!({ "members": texts(), "next": maybe_text() })),
        "Check": object(&["answer"], json!({ "answer": yes_or_no() })),
        "CheckAnswers": object(&["answers"], json!({ "answers": { "type": "array", "items": { "type": ["boolean", "null"] } } })),
        "Servers": { "type": "array", "items": object(&["name", "role", "doors"], json!({
            "name": text(), "role": text(), "public_key": text(), "doors": { "type": "object" },
        })) },
        "Status": object(&["server", "role", "registries"], json!({
            "server": text(), "role": text(), "registries": { "type": "array" }, "fetching": texts(), "mailboxes": number(),
            "queue": { "type": "object" }, "peers": { "type": "array" }, "alarms": texts(), "storage": { "type": "object" },
        })),
        "Trace": object(&["message", "server"], json!({ "message": any(), "server": text() })),
        "Inbox": object(&["name", "messages"], json!({
            "name": text(), "incarnation": text(), "sites": texts(), "partial": yes_or_no(), "messages": { "type": "array" },
            "usage": { "type": "object" }, "quota": reference("Quota"),
        })),
        "Problem": object(&["type", "title", "status", "detail", "kind"], json!({
            "type": text(), "title": text(), "status": number(), "detail": text(),
            "kind": { "enum": ["invalid", "not-authenticated", "not-allowed", "not-found", "conflict", "too-large", "too-many", "changed", "unavailable", "unknown", "internal"] },
        })),
    })
}

/// Of what administration, services and mail ask and are told.
fn other_schemas() -> Value {
    let text = || json!({ "type": "string" });
    let texts = || json!({ "type": "array", "items": { "type": "string" } });
    let number = || json!({ "type": "integer" });
    let yes_or_no = || json!({ "type": "boolean" });
    let maybe_text = || json!({ "type": ["string", "null"] });
    let maybe_number = || json!({ "type": ["integer", "null"] });
    let list = || json!({ "enum": ["members", "owners", "friends"] });
    json!({
        "NewName": closed(&["name"], json!({ "name": text() })),
        "Quota": closed(&[], json!({ "octets": maybe_number(), "messages": maybe_number() })),
        "PostingRule": { "oneOf": [
            { "enum": ["anyone", "authenticated", "members", "owners", "moderated"] },
            closed(&["group"], json!({ "group": text() })),
        ] },
        "Posting": closed(&["posting"], json!({ "posting": reference("PostingRule") })),
        "NewAppPassword": closed(&["label"], json!({ "label": text(), "expires_ms": maybe_number() })),
        "AppPassword": object(&["id", "password"], json!({ "id": text(), "password": text() })),
        "AppPasswords": { "type": "array", "items": object(&["id", "label", "created_ms"], json!({
            "id": text(), "label": text(), "created_ms": number(), "expires_ms": maybe_number(),
        })) },
        "Service": closed(&["sites"], json!({
            "sites": { "type": "array", "items": closed(&["site"], json!({
                "site": text(), "priority": number(), "weight": number(), "note": text(),
            })) },
            "lease_ms": maybe_number(),
        })),
        "Located": object(&["name", "sites", "partial", "version"], json!({
            "name": text(), "partial": yes_or_no(), "version": number(),
            "sites": { "type": "array", "items": object(&["name", "door", "site"], json!({
                "name": text(), "door": text(), "site": text(), "host": text(), "port": number(), "priority": number(),
                "weight": number(), "note": text(), "lease_ms": maybe_number(),
            })) },
        })),
        "Rejection": closed(&[], json!({ "reason": text() })),
        "HeldPosts": { "type": "array", "items": object(
            &["message", "octets", "since_ms", "expires_ms"],
            json!({ "message": text(), "from": maybe_text(), "octets": number(), "since_ms": number(), "expires_ms": number() }),
        ) },
        "Conflicts": object(&["conflicts"], json!({ "next": maybe_text(), "conflicts": { "type": "array", "items": object(
            &["name", "kind", "holder", "aside", "remark"],
            json!({ "name": text(), "kind": text(), "holder": text(), "aside": text(), "remark": text() }),
        ) } })),
        "DanglingMembers": object(&["dangling"], json!({ "next": maybe_text(), "dangling": { "type": "array", "items": object(
            &["group", "list", "member", "why"],
            json!({ "group": text(), "list": list(), "member": text(), "why": { "enum": ["gone", "another", "unknown"] } }),
        ) } })),
        "Compared": object(&["registry", "server", "with"], json!({
            "registry": text(), "server": text(), "cells": number(), "with": { "type": "array" },
        })),
        "ImportEntries": { "type": "array", "items": closed(&["name", "kind"], json!({
            "name": text(), "kind": { "enum": ["individual", "group"] }, "password_hash": maybe_text(), "remark": maybe_text(),
            "sites": texts(), "forward": texts(), "aliases": texts(), "members": texts(), "owners": texts(), "friends": texts(),
        })) },
        "ImportOutcomes": object(&["outcomes", "copies"], json!({ "copies": number(), "outcomes": { "type": "array", "items": object(
            &["done", "left_out"],
            json!({ "done": { "enum": ["created", "changed", "unchanged", "refused"] }, "left_out": { "type": "array" } }),
        ) } })),
        "Queue": object(&["waiting"], json!({ "next": maybe_text(), "waiting": { "type": "array", "items": object(
            &["message", "recipient", "state", "reason", "attempts"],
            json!({
                "message": text(), "recipient": text(), "state": text(), "reason": text(), "next_ms": maybe_number(),
                "attempts": number(), "return_path": maybe_text(), "accepted_ms": number(), "size": number(),
                "held": yes_or_no(), "deputy": maybe_text(),
            }),
        ) } })),
        "QueueChange": closed(&["change"], json!({ "change": { "enum": ["retry", "hold", "release", "refuse", "drop"] } })),
        "QueueChanged": object(&["changed"], json!({ "changed": number() })),
        "DeadLetters": object(&["dead_letters"], json!({ "next": maybe_text(), "dead_letters": { "type": "array", "items": object(
            &["message", "for", "reason", "since_ms"],
            json!({ "message": text(), "for": text(), "reason": text(), "since_ms": number(), "size": number() }),
        ) } })),
        "Resubmit": closed(&[], json!({ "to": maybe_text() })),
        "Replay": closed(&[], json!({
            "message": maybe_text(), "since_ms": number(), "of": maybe_text(), "to": maybe_text(), "after": maybe_text(),
        })),
        "Replayed": object(&["replayed"], json!({ "replayed": number(), "next": maybe_text() })),
        "Destinations": object(&["destinations"], json!({ "destinations": { "type": "array", "items": object(
            &["destination", "messages", "recipients", "under_way", "failures", "reason"],
            json!({
                "destination": text(), "messages": number(), "recipients": number(), "under_way": number(),
                "failures": number(), "next_ms": maybe_number(), "reason": text(),
            }),
        ) } })),
        "SeenBy": object(&["registry", "everywhere", "holders"], json!({
            "registry": text(), "everywhere": yes_or_no(), "holders": { "type": "array", "items": object(
                &["server", "seen"],
                json!({ "server": text(), "seen": { "enum": ["has", "lacks", "silent"] } }),
            ) },
        })),
        "Unplug": object(&["itself"], json!({
            "itself": yes_or_no(), "messages_alone": number(), "registries_alone": texts(), "mailboxes_alone": number(),
            "mailboxes_of": texts(), "messages_delayed": number(), "messages_taken_over": number(),
            "recipients_waiting": number(), "take_over_ms": number(),
        })),
        "Accepted": object(&["message", "copies"], json!({ "message": text(), "copies": number() })),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_is_described_once_and_every_schema_is_there_and_used() {
        let document = document();
        let described: usize = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .map(|path| path.as_object().unwrap().len())
            .sum();
        assert_eq!(described, OPERATIONS.len());
        let ids: BTreeSet<String> = OPERATIONS.iter().map(|o| format!("{:?}", o.op)).collect();
        assert_eq!(ids.len(), OPERATIONS.len());
        let text = document.to_string();
        let used: BTreeSet<&str> = text
            .split("#/components/schemas/")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap())
            .collect();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let there: BTreeSet<&str> = schemas.keys().map(String::as_str).collect();
        assert_eq!(used, there);
    }
}
