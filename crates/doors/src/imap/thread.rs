//! Threads of messages (RFC 5256): by subject, or by what each refers to.
//!
//! Whatever ids messages claim to have and to refer to, the result has each message once, and takes bounded time: no loops, no recursion.

use std::collections::BTreeMap;

use super::search_syntax::Algorithm;

/// What threads are made by.
pub(super) struct Member {
    pub(super) id: Option<String>,
    pub(super) references: Vec<String>,
    pub(super) subject: String,
    pub(super) is_reply: bool,
    pub(super) sent: i64,
}

/// A place in the tree: a message, or one that others refer to and that is not here.
#[derive(Default)]
struct Node {
    /// Its number, and its place among the members.
    message: Option<(u32, usize)>,
    parent: Option<usize>,
    children: Vec<usize>,
}

/// How many steps up are looked for a loop: a longer thread is cut.
const DEPTH: usize = 1_000;

/// As THREAD writes them: `(1)(2 3 (4)(5))`.
pub(super) fn threads(algorithm: Algorithm, members: Vec<(u32, Member)>) -> String {
    let (nodes, roots) = match algorithm {
        Algorithm::OrderedSubject => by_subject(&members),
        Algorithm::References => by_references(&members),
    };
    let mut out = String::new();
    for root in roots {
        put(&mut out, &nodes, root);
    }
    out
}

fn by_subject(members: &[(u32, Member)]) -> (Vec<Node>, Vec<usize>) {
    let mut order: Vec<usize> = (0..members.len()).collect();
    let key = |at: &usize| {
        members
            .get(*at)
            .map(|(number, member)| (member.subject.as_str(), member.sent, *number))
    };
    order.sort_by(|a, b| key(a).cmp(&key(b)));
    let mut nodes: Vec<Node> = Vec::new();
    let mut roots: Vec<(i64, usize)> = Vec::new();
    let mut current: Option<(&str, usize)> = None;
    for at in order {
        let Some((number, member)) = members.get(at) else {
            continue;
        };
        let node = nodes.len();
        nodes.push(Node {
            message: Some((*number, at)),
            ..Node::default()
        });
        match current {
            Some((subject, root)) if subject == member.subject => {
                if let Some(root) = nodes.get_mut(root) {
                    root.children.push(node);
                }
            }
            _ => {
                roots.push((member.sent, node));
                current = Some((&member.subject, node));
            }
        }
    }
    roots.sort_unstable();
    (nodes, roots.into_iter().map(|(_, root)| root).collect())
}

fn by_references(members: &[(u32, Member)]) -> (Vec<Node>, Vec<usize>) {
    let mut nodes: Vec<Node> = Vec::new();
    let mut by_id: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, (number, member)) in members.iter().enumerate() {
        let message = Some((*number, at));
        let known = member.id.as_deref().and_then(|id| by_id.get(id).copied());
        let node = match known {
            Some(node) if nodes.get(node).is_some_and(|node| node.message.is_none()) => {
                if let Some(node) = nodes.get_mut(node) {
                    node.message = message;
                }
                node
            }
            // An id that two messages claim is the first one's.
            known => {
                nodes.push(Node {
                    message,
                    ..Node::default()
                });
                let node = nodes.len() - 1;
                if let (None, Some(id)) = (known, member.id.as_deref()) {
                    by_id.insert(id, node);
                }
                node
            }
        };
        let mut above: Option<usize> = None;
        for reference in &member.references {
            let next = *by_id.entry(reference).or_insert_with(|| {
                nodes.push(Node::default());
                nodes.len() - 1
            });
            if let Some(above) = above
                && nodes.get(next).is_some_and(|next| next.parent.is_none())
            {
                link(&mut nodes, above, next);
            }
            above = Some(next);
        }
        if let Some(above) = above {
            unlink(&mut nodes, node);
            link(&mut nodes, above, node);
        }
    }
    let roots = (0..nodes.len())
        .filter(|at| nodes.get(*at).is_some_and(|node| node.parent.is_none()))
        .collect();
    let roots = gathered(&mut nodes, members, roots);
    (nodes, roots)
}

fn link(nodes: &mut [Node], parent: usize, child: usize) {
    let mut up = Some(parent);
    for _ in 0..DEPTH {
        match up {
            None => {
                if let Some(child) = nodes.get_mut(child) {
                    child.parent = Some(parent);
                }
                if let Some(parent) = nodes.get_mut(parent) {
                    parent.children.push(child);
                }
                return;
            }
            Some(at) if at == child => return,
            Some(at) => up = nodes.get(at).and_then(|node| node.parent),
        }
    }
}

fn unlink(nodes: &mut [Node], child: usize) {
    let parent = nodes.get_mut(child).and_then(|child| child.parent.take());
    if let Some(parent) = parent.and_then(|parent| nodes.get_mut(parent)) {
        parent.children.retain(|one| *one != child);
    }
}

/// Steps 3 to 6: empty places go, threads of one subject come together, all is ordered by date.
fn gathered(nodes: &mut Vec<Node>, members: &[(u32, Member)], roots: Vec<usize>) -> Vec<usize> {
    let roots: Vec<usize> = roots
        .into_iter()
        .flat_map(|root| pruned(nodes, root))
        .collect();
    let mut by_subject: BTreeMap<String, usize> = BTreeMap::new();
    let mut kept: Vec<usize> = Vec::new();
    for root in roots {
        let Some(first) = first_message(nodes, root).and_then(|at| members.get(at)) else {
            continue;
        };
        let subject = first.1.subject.clone();
        if subject.is_empty() {
            kept.push(root);
            continue;
        }
        match by_subject.get(&subject).copied() {
            None => {
                by_subject.insert(subject, root);
                kept.push(root);
            }
            Some(other) => {
                let is_reply = |nodes: &[Node], root: usize| {
                    first_message(nodes, root)
                        .and_then(|at| members.get(at))
                        .is_some_and(|(_, member)| member.is_reply)
                };
                let is_empty = |nodes: &[Node], root: usize| {
                    nodes.get(root).is_some_and(|node| node.message.is_none())
                };
                if is_empty(nodes, other) || (is_reply(nodes, root) && !is_reply(nodes, other)) {
                    link(nodes, other, root);
                } else {
                    // Beside each other, below an empty place.
                    nodes.push(Node::default());
                    let above = nodes.len() - 1;
                    link(nodes, above, other);
                    link(nodes, above, root);
                    for one in &mut kept {
                        if *one == other {
                            *one = above;
                        }
                    }
                    by_subject.insert(subject, above);
                }
            }
        }
    }
    let sent = |nodes: &[Node], at: usize| {
        let message = nodes
            .get(at)
            .and_then(|node| node.message.map(|(_, at)| at))
            .or_else(|| first_message(nodes, at));
        message
            .and_then(|at| members.get(at))
            .map_or((0, 0), |(number, member)| (member.sent, *number))
    };
    for at in 0..nodes.len() {
        let mut children = nodes
            .get_mut(at)
            .map(|node| std::mem::take(&mut node.children))
            .unwrap_or_default();
        children.sort_by_key(|child| sent(nodes, *child));
        if let Some(node) = nodes.get_mut(at) {
            node.children = children;
        }
    }
    kept.sort_by_key(|root| sent(nodes, *root));
    kept
}

/// The place of the first message in a tree: of the root, or of its first child.
fn first_message(nodes: &[Node], root: usize) -> Option<usize> {
    let mut at = root;
    for _ in 0..DEPTH {
        let node = nodes.get(at)?;
        if let Some((_, message)) = node.message {
            return Some(message);
        }
        at = *node.children.first()?;
    }
    None
}

/// Removes empty places below a root; gives what is to be a root in its place.
fn pruned(nodes: &mut [Node], root: usize) -> Vec<usize> {
    // From the deepest up, so that what is lifted is done with already.
    let mut order = vec![root];
    let mut next = 0;
    while let Some(at) = order.get(next).copied() {
        order.extend(
            nodes
                .get(at)
                .map(|node| node.children.clone())
                .unwrap_or_default(),
        );
        next += 1;
    }
    for at in order.into_iter().rev() {
        let children = nodes
            .get_mut(at)
            .map(|node| std::mem::take(&mut node.children))
            .unwrap_or_default();
        let mut lifted = Vec::with_capacity(children.len());
        for child in children {
            match nodes.get(child) {
                Some(node) if node.message.is_none() => {
                    lifted.extend(node.children.iter().copied())
                }
                Some(_) => lifted.push(child),
                None => {}
            }
        }
        if let Some(node) = nodes.get_mut(at) {
            node.children = lifted;
        }
    }
    match nodes.get(root) {
        // One child of an empty root takes its place; several stay together.
        Some(node) if node.message.is_none() && node.children.len() <= 1 => {
            let children = node.children.clone();
            for child in &children {
                if let Some(child) = nodes.get_mut(*child) {
                    child.parent = None;
                }
            }
            children
        }
        Some(_) => vec![root],
        None => Vec::new(),
    }
}

/// `(3 6 (4 23)(44 7 96))`.
fn put(out: &mut String, nodes: &[Node], root: usize) {
    enum Do {
        Node(usize),
        Text(&'static str),
    }
    out.push('(');
    let mut todo = vec![Do::Text(")"), Do::Node(root)];
    while let Some(next) = todo.pop() {
        match next {
            Do::Text(text) => out.push_str(text),
            Do::Node(at) => {
                let Some(node) = nodes.get(at) else { continue };
                if let Some((number, _)) = node.message {
                    out.push_str(&number.to_string());
                    if !node.children.is_empty() {
                        out.push(' ');
                    }
                }
                match node.children.as_slice() {
                    [] => {}
                    [only] if node.message.is_some() => todo.push(Do::Node(*only)),
                    children => {
                        for child in children.iter().rev() {
                            todo.push(Do::Text(")"));
                            todo.push(Do::Node(*child));
                            todo.push(Do::Text("("));
                        }
                    }
                }
            }
        }
    }
    out.push(')');
    // The outer parenthesis is closed by the first thing that was put down.
    out.pop();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, references: &[&str], subject: &str, sent: i64) -> Member {
        let is_reply = subject.starts_with("re: ");
        Member {
            id: (!id.is_empty()).then(|| id.to_owned()),
            references: references.iter().map(|one| (*one).to_owned()).collect(),
            subject: subject.trim_start_matches("re: ").to_owned(),
            is_reply,
            sent,
        }
    }

    fn shown(algorithm: Algorithm, members: Vec<Member>) -> String {
        threads(algorithm, (1..).zip(members).collect())
    }

    #[test]
    fn threads_are_made_by_references() {
        assert_eq!(
            shown(
                Algorithm::References,
                vec![
                    member("a", &[], "x", 1),
                    member("b", &["a"], "re: x", 2),
                    member("c", &["a", "b"], "re: x", 3),
                    member("d", &["a"], "re: x", 4),
                    member("e", &[], "y", 0)
                ]
            ),
            "(5)(1 (2 3)(4))"
        );
        // Both refer to one that is not here.
        assert_eq!(
            shown(
                Algorithm::References,
                vec![
                    member("b", &["a"], "re: x", 1),
                    member("c", &["a"], "re: x", 2)
                ]
            ),
            "((1)(2))"
        );
        assert_eq!(
            shown(Algorithm::References, vec![member("b", &["a"], "q", 1)]),
            "(1)"
        );
        assert_eq!(shown(Algorithm::References, vec![]), "");
    }

    #[test]
    fn threads_are_made_by_subject() {
        assert_eq!(
            shown(
                Algorithm::OrderedSubject,
                vec![
                    member("", &[], "b", 3),
                    member("", &[], "a", 2),
                    member("", &[], "b", 1),
                    member("", &[], "b", 5)
                ]
            ),
            "(3 (1)(4))(2)"
        );
    }

    #[test]
    fn loops_and_double_ids_lose_nobody() {
        let members = vec![
            member("a", &["b"], "x", 1),
            member("b", &["a"], "y", 2),
            member("b", &["b"], "z", 3),
            member("c", &["c"], "w", 4),
        ];
        let text = shown(Algorithm::References, members);
        for number in ["1", "2", "3", "4"] {
            assert_eq!(text.matches(number).count(), 1, "{text}");
        }
        let long: Vec<Member> = (0..3_000)
            .map(|n| member(&format!("m{n}"), &[format!("m{}", n - 1).as_str()], "", n))
            .collect();
        let text = shown(Algorithm::References, long);
        assert_eq!(
            text.split(|c: char| !c.is_ascii_digit())
                .filter(|word| !word.is_empty())
                .count(),
            3_000
        );
    }
}
