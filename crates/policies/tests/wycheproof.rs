//! The vectors of Project Wycheproof for signed tokens and their keys, below the layer of claims.
//!
//! Whatever they call invalid is refused, but for two tokens that are another valid one byte for byte. What they call valid and is refused stands in [`REFUSED`] with a reason.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use gatehouse_policies::auth::jose::{Choice, KeySet, Token};
use serde_json::Value;

/// Valid by the vectors, refused here: file, number, why.
const REFUSED: &[(&str, u64, &str)] = &[
    (
        "signature",
        346,
        "the key says it is for PS256, and the token is of PS384: a key is for what it says (RFC 7517 4.4)",
    ),
    (
        "signature",
        347,
        "the key says it is for `ES521`, which is no algorithm",
    ),
    ("signature", 350, "as 346"),
    ("signature", 351, "as 347"),
    (
        "signature",
        372,
        "there is a `?` in the header, which is no base64url (RFC 7515 2)",
    ),
    ("signature", 373, "the same in the payload"),
];

/// Invalid by the vectors, yet byte for byte token 357 of the same file, which is valid: the padding that their comments
/// speak of is not in them.
const SAME_AS_357: [u64; 2] = [367, 370];

fn is_accepted(group: &Value, token: &str) -> bool {
    let key = if group["public"].is_null() {
        &group["private"]
    } else {
        &group["public"]
    };
    // As for keys in a document: one that cannot be read spoils the set.
    let Ok((keys, wrong)) = KeySet::read(key.to_string().as_bytes(), false) else {
        return false;
    };
    if !wrong.is_empty() {
        return false;
    }
    let Ok(token) = Token::parse(token) else {
        return false;
    };
    let Ok(header) = token.header() else { return false };
    matches!(
        keys.verify(&header, token.message(), token.signature()),
        Choice::Verified(_)
    )
}

/// Runs a file; how many tokens were accepted, how many refused.
fn run(name: &str, text: &str) -> (usize, usize) {
    let (mut accepted, mut refused, mut wrong) = (0, 0, Vec::new());
    let file: Value = serde_json::from_str(text).unwrap();
    let mut token_357 = "";
    for group in file["testGroups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            let Some(token) = test["jws"].as_str() else {
                continue; // encrypted tokens, which are not read
            };
            let number = test["tcId"].as_u64().unwrap();
            if number == 357 {
                token_357 = token;
            }
            let is_valid = test["result"] == "valid" || (SAME_AS_357.contains(&number) && token == token_357);
            let is_refused = REFUSED
                .iter()
                .any(|(file, known, _)| *file == name && *known == number);
            let got = is_accepted(group, token);
            if got != (is_valid && !is_refused) {
                wrong.push(format!(
                    "{name} {number} {}: {} and accepted: {got}",
                    test["comment"], test["result"]
                ));
            }
            if got { accepted += 1 } else { refused += 1 }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    (accepted, refused)
}

#[test]
fn signatures() {
    let counts = run(
        "signature",
        include_str!("vectors/wycheproof/json_web_signature_test.json"),
    );
    assert_eq!(counts, (42, 359));
}

#[test]
fn tokens_and_sets() {
    let counts = run(
        "crypto",
        include_str!("vectors/wycheproof/json_web_crypto_test.json"),
    );
    assert_eq!(counts, (4, 44));
}

#[test]
fn keys() {
    let counts = run("key", include_str!("vectors/wycheproof/json_web_key_test.json"));
    assert_eq!(counts, (5, 21));
}
