//! What a forger tries. Nothing of it reaches the upstream.

use gatehouse_testkit::{HttpBackend, Request, client};
use jsonwebtoken::{Algorithm, Header};
use serde_json::json;

use super::tokens::{SECRET, Signer, claims, hmac, now, raw, signed};
use super::{by_secret, document, get, guarded};
use crate::gateway;

#[test]
fn forged_tokens_are_refused_and_none_reaches_the_upstream() {
    let backend = HttpBackend::start();
    let rsa = Signer::new("rsa", Algorithm::RS256);
    let evil = Signer::new("evil", Algorithm::ES256);
    let keys = "keys: [ { id: rsa, pem: { file: rsa.pem } } ]";
    let gateway = gateway(&document(&backend, keys, "", ""))
        .file("rsa.pem", &rsa.public_pem())
        .start();
    let good = claims(&json!({}));
    assert_eq!(get(&gateway, &rsa.sign(&good)).status, 200);
    assert_eq!(backend.count(), 1);

    let with_key = |id: &str| Header {
        kid: Some(id.to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    let token = rsa.sign(&good);
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (head, _) = message.split_once('.').unwrap();
    let other_payload = raw(&json!({}), &claims(&json!({ "sub": "root" })), b"");
    let other_payload = other_payload.split('.').nth(1).unwrap();
    let mut attempts = vec![
        // No algorithm at all, in several spellings.
        raw(&json!({ "alg": "none" }), &good, b""),
        raw(&json!({ "alg": "None", "kid": "rsa" }), &good, b""),
        raw(&json!({ "alg": "" }), &good, b""),
        raw(&json!({ "kid": "rsa" }), &good, b""),
        raw(&json!({ "alg": "none" }), &good, b"x"),
        format!("{message}."),
        // The public key as a secret.
        hmac(&with_key("rsa"), &good, rsa.public_pem().as_bytes()),
        hmac(&with_key("rsa"), &good, rsa.public_pem().trim_end().as_bytes()),
        hmac(&Header::new(Algorithm::HS256), &good, b""),
        // Keys that the token brings along, or points to.
        evil.sign(&good),
        raw(&json!({ "alg": "ES256", "jwk": evil.jwk() }), &good, &[1; 64]),
        raw(
            &json!({ "alg": "ES256", "kid": "evil", "jku": "http://127.0.0.1:1/keys" }),
            &good,
            &[1; 64],
        ),
        raw(
            &json!({ "alg": "RS256", "x5u": "http://127.0.0.1:1/", "x5c": ["MIIB"] }),
            &good,
            &[1; 256],
        ),
        // Other signatures and other contents.
        format!("{head}.{other_payload}.{signature}"),
        format!("{message}.{}", signature.chars().rev().collect::<String>()),
        format!("{message}.{signature}="),
        format!("{message}.{signature}.{signature}"),
        format!("{message}.{signature}."),
        format!(".{message}.{signature}"),
        message.to_owned(),
        head.to_owned(),
        ".".to_owned(),
        "..".to_owned(),
        "x".repeat(20_000),
        // Extensions that nobody knows.
        raw(
            &json!({ "alg": "RS256", "kid": "rsa", "crit": ["exp"] }),
            &good,
            &[1; 256],
        ),
        raw(
            &json!({ "alg": "RS256", "kid": "rsa", "crit": [] }),
            &good,
            &[1; 256],
        ),
        raw(
            &json!({ "alg": "RS256", "kid": "rsa", "b64": false }),
            &good,
            &[1; 256],
        ),
    ];
    // Names of keys that are meant for a file system, a shell, a database.
    for id in [
        "../../../dev/null",
        "/dev/null",
        "rsa' OR '1'='1",
        "rsa\0",
        "rsa|id",
        "",
        "RSA",
        "\u{1F511}",
    ] {
        attempts.push(hmac(&with_key(id), &good, b""));
        attempts.push(Signer::new(id, Algorithm::ES256).sign(&good));
    }
    for attempt in &attempts {
        let response = get(&gateway, attempt);
        // Heads that are too large do not even get as far.
        assert!([401, 431].contains(&response.status), "{attempt}: {response:?}");
    }
    // A good signature under wrong claims.
    for changes in [
        json!({ "exp": now() - 3600 }),
        json!({ "exp": "tomorrow" }),
        json!({ "exp": null }),
        json!({ "nbf": now() + 3600 }),
        json!({ "aud": "invoices" }),
        json!({ "aud": null }),
        json!({ "iss": "https://issuer.test/" }),
        json!({ "iss": null }),
        json!({ "iss": ["https://issuer.test"] }),
    ] {
        let response = get(&gateway, &rsa.sign(&claims(&changes)));
        assert_eq!(response.status, 401, "{changes}: {response:?}");
    }
    assert_eq!(backend.count(), 1, "one of them came through");
}

#[test]
fn crit_is_refused_also_under_a_good_signature() {
    let backend = HttpBackend::start();
    let gateway = guarded(&backend, &by_secret(), "", "");
    for header in [
        json!({ "alg": "HS256", "crit": ["x"], "x": 1 }),
        json!({ "alg": "HS256", "alg ": 1 }),
        json!({ "alg": "HS256" }),
    ] {
        let unsigned = raw(&header, &claims(&json!({})), b"");
        let message = unsigned.trim_end_matches('.');
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        let expected = if header.get("crit").is_some() { 401 } else { 200 };
        assert_eq!(
            get(&gateway, &format!("{message}.{signature}")).status,
            expected,
            "{header}"
        );
    }
}

#[test]
fn identity_headers_of_clients_are_taken_off_everywhere() {
    let backend = HttpBackend::start();
    let forward = "forward: { X-User-Id: \"${identity.subject}\", X-User-Role: \"${claims.role}\" }";
    let gateway = guarded(&backend, &by_secret(), forward, "");
    let spoofed = |path: &str| {
        Request::get(path)
            .header("X-User-Id", "root")
            .header("x-user-role", "owner")
            .header("X-USER-ID", "root")
    };
    let token = signed(&claims(&json!({ "role": null })));
    let request = spoofed("/api/x").header("Authorization", &format!("Bearer {token}"));
    assert_eq!(client::once(gateway.address(), &request).status, 200);
    let seen = backend.last();
    assert_eq!(seen.headers.all("x-user-id").collect::<Vec<_>>(), ["alice"]);
    assert!(
        !seen.headers.has("x-user-role"),
        "the token has no role, so nobody has"
    );
    // Also where nobody asks who calls.
    assert_eq!(client::once(gateway.address(), &spoofed("/open")).status, 200);
    let seen = backend.last();
    assert!(
        !seen.headers.has("x-user-id") && !seen.headers.has("x-user-role"),
        "{seen:?}"
    );
}

#[test]
fn a_token_is_there_once_or_not_at_all() {
    let backend = HttpBackend::start();
    let gateway = guarded(&backend, &by_secret(), "", "");
    let (good, other) = (
        signed(&claims(&json!({}))),
        signed(&claims(&json!({ "sub": "bob" }))),
    );
    let twice = Request::get("/api/x")
        .header("Authorization", &format!("Bearer {good}"))
        .header("Authorization", &format!("Bearer {other}"));
    let response = client::once(gateway.address(), &twice);
    assert_eq!(response.status, 400, "{response:?}");
    let list = Request::get("/api/x").header("Authorization", &format!("Bearer {good}, Bearer {other}"));
    assert_eq!(client::once(gateway.address(), &list).status, 401);
    assert_eq!(backend.count(), 0);
}
