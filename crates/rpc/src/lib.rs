//! The published schema, its conversions to and from Grapevine's words, and mutual TLS by recorded keys.
