//! Keys in JSON (RFC 7517, RFC 7518 6, RFC 8037).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::{Algorithm, Key};

/// A key in JSON. None if it is not for verifying signatures, or of a type that is not known.
///
/// # Errors
/// Says what is wrong with it.
pub fn read(value: &Value) -> Result<Option<Key>, String> {
    if !is_for_signatures(value) {
        return Ok(None);
    }
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let only = match text("alg") {
        None => None,
        // Also keys for encryption say so by an `alg` that is not here.
        Some(name) => match Algorithm::named(name) {
            None => return Ok(None),
            known => known,
        },
    };
    let id = text("kid");
    let bytes = |name: &str| {
        let text = text(name).ok_or_else(|| format!("it has no `{name}`"))?;
        let decoded = URL_SAFE_NO_PAD.decode(text);
        decoded.map_err(|_| format!("its `{name}` is not base64url"))
    };
    let curve = text("crv").unwrap_or_default();
    match text("kty").unwrap_or_default() {
        "oct" => Key::secret(id, &bytes("k")?, only).map(Some),
        "RSA" => Key::rsa(id, &bytes("n")?, &bytes("e")?, only).map(Some),
        "EC" => {
            let Some((.., length)) = Algorithm::of_curve(curve) else {
                return Ok(None);
            };
            let (x, y) = (bytes("x")?, bytes("y")?);
            if x.len() != length || y.len() != length {
                return Err(format!(
                    "its coordinates do not have the {length} bytes of {curve}"
                ));
            }
            Key::point(id, curve, &[&[4], x.as_slice(), y.as_slice()].concat(), only).map(Some)
        }
        "OKP" if curve == "Ed25519" => Key::point(id, curve, &bytes("x")?, only).map(Some),
        _ => Ok(None),
    }
}

/// Whether `use` and `key_ops` allow it (RFC 7517 4.2, 4.3).
fn is_for_signatures(value: &Value) -> bool {
    let by_use = value.get("use").is_none_or(|purpose| purpose == "sig");
    let by_operations = value.get("key_ops").is_none_or(|operations| {
        operations
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one == "verify"))
    });
    // A secret that may sign may also verify.
    let is_signer = value["kty"] == "oct"
        && value["key_ops"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one == "sign"));
    by_use && (by_operations || is_signer)
}
