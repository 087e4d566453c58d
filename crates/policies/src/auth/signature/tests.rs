//! The vectors of RFC 9421 appendix B and RFC 9530 appendix B; and what must not pass.

use super::*;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use gatehouse_core::config::SignatureAlgorithm;
use gatehouse_http1::{HeadLimits, RequestHead};
use keys::Key;
use sfv::{Dictionary, ListEntry, Parser};

/// RFC 9421 B.1.1 to B.1.5.
const RSA: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAr4tmm3r20Wd/PbqvP1s2+QEtvpuRaV8Yq40gjUR8y2Rjxa6dpG2GXHbPfvMs8ct+Lh1GH45x28Rw3Ry53mm+oAXjyQ86OnDkZ5N8lYbggD4O3w6M6pAvLkhk95AndTrifbIFPNU8PPMO7OyrFAHqgDsznjPFmTOtCEcN2Z1FpWgchwuYLPL+Wokqltd11nqqzi+bJ9cvSKADYdUAAN5WUtzdpiy6LbTgSxP7ociU4Tn0g5I6aDZJ7A8Lzo0KSyZYoA485mqcO0GVAdVw9lq4aOT9v6d+nb4bnNkQVklLQ3fVAvJm+xdDOp9LCNCN48V2pnDOkFV6+U9nV5oyc6XI2wIDAQAB";
const P256: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lfw0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==";
const ED25519: &str = "MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=";
const SECRET: &str =
    "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";

fn public(algorithm: SignatureAlgorithm, der: &str) -> Key {
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n");
    Key::public(algorithm, pem.as_bytes()).unwrap()
}

/// RFC 9421 B.2, with these fields besides.
fn request(fields: &str) -> RequestHead {
    let text = format!(
        "POST /foo?param=Value&Pet=dog HTTP/1.1\r\n\
         Host: example.com\r\n\
         Date: Tue, 20 Apr 2021 02:07:55 GMT\r\n\
         Content-Type: application/json\r\n\
         Content-Digest: sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:\r\n\
         Content-Length: 18\r\n\
         {fields}\r\n"
    );
    let mut head = RequestHead::new();
    let parsed = gatehouse_http1::parse_request(text.as_bytes(), &HeadLimits::default(), &mut head);
    assert!(matches!(parsed, Ok(Some(_))), "{text}");
    head
}

fn message(head: &RequestHead) -> Message<'_> {
    Message {
        method: head.method.as_str(),
        scheme: "https",
        authority: head.authority(),
        path: head.path(),
        query: head.query(),
        headers: &head.headers,
    }
}

/// The base that `input` asks for.
fn base(head: &RequestHead, input: &str) -> Result<String, &'static str> {
    let text = format!("s={input}");
    let mut parsed: Dictionary = Parser::new(&text).parse().unwrap();
    let Some(ListEntry::InnerList(list)) = parsed.shift_remove("s") else {
        panic!("{input}");
    };
    message(head)
        .signature_base(&list)
        .map(|base| String::from_utf8(base).unwrap())
}

fn verify(key: &Key, base: &str, signature: &str) -> bool {
    key.verify(base.as_bytes(), &BASE64_STANDARD.decode(signature).unwrap())
}

#[test]
fn the_signatures_of_appendix_b_fit() {
    let head = request("");
    let rsa = public(SignatureAlgorithm::RsaPssSha512, RSA);
    for (key, input, signature) in [
        // B.2.1
        (
            &rsa,
            r#"();created=1618884473;keyid="test-key-rsa-pss";nonce="b3k2pp5k7z-50gnwp.yemd""#,
            "d2pmTvmbncD3xQm8E9ZV2828BjQWGgiwAaw5bAkgibUopemLJcWDy/lkbbHAve4cRAtx31Iq786U7it++wgGxbtRxf8Udx7zFZsckzXaJMkA7ChG52eSkFxykJeNqsrWH5S+oxNFlD4dzVuwe8DhTSja8xxbR/Z2cOGdCbzR72rgFWhzx2VjBqJzsPLMIQKhO4DGezXehhWwE56YCE+O6c0mKZsfxVrogUvA4HELjVKWmAvtl6UnCh8jYzuVG5WSb/QEVPnP5TmcAnLH1g+s++v6d4s8m0gCw1fV5/SITLq9mhho8K3+7EPYTU8IU1bLhdxO5Nyt8C8ssinQ98Xw9Q==",
        ),
        // B.2.2
        (
            &rsa,
            r#"("@authority" "content-digest" "@query-param";name="Pet");created=1618884473;keyid="test-key-rsa-pss";tag="header-example""#,
            "LjbtqUbfmvjj5C5kr1Ugj4PmLYvx9wVjZvD9GsTT4F7GrcQEdJzgI9qHxICagShLRiLMlAJjtq6N4CDfKtjvuJyE5qH7KT8UCMkSowOB4+ECxCmT8rtAmj/0PIXxi0A0nxKyB09RNrCQibbUjsLS/2YyFYXEu4TRJQzRw1rLEuEfY17SARYhpTlaqwZVtR8NV7+4UKkjqpcAoFqWFQh62s7Cl+H2fjBSpqfZUJcsIk4N6wiKYd4je2U/lankenQ99PZfB4jY3I5rSV2DSBVkSFsURIjYErOs0tFTQosMTAoxk//0RoKUqiYY8Bh0aaUEb0rQl3/XaVe4bXTugEjHSw==",
        ),
        // B.2.5
        (
            &Key::shared(&BASE64_STANDARD.decode(SECRET).unwrap()),
            r#"("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#,
            "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=",
        ),
        // B.2.6
        (
            &public(SignatureAlgorithm::Ed25519, ED25519),
            r#"("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#,
            "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==",
        ),
    ] {
        let base = base(&head, input).unwrap();
        assert!(verify(key, &base, signature), "{base}");
        assert!(!verify(key, &base.replace("1618884473", "1618884474"), signature));
    }
    // B.2.4 is of a response, of which we know the base only.
    let response = "\"@status\": 200\n\
        \"content-type\": application/json\n\
        \"content-digest\": sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgfLQ==:\n\
        \"content-length\": 23\n\
        \"@signature-params\": (\"@status\" \"content-type\" \"content-digest\" \"content-length\");created=1618884473;keyid=\"test-key-ecc-p256\"";
    let p256 = public(SignatureAlgorithm::EcdsaP256Sha256, P256);
    let signature =
        "wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==";
    assert!(verify(&p256, response, signature));
}

#[test]
fn a_key_is_only_read_for_its_own_algorithm() {
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{P256}\n-----END PUBLIC KEY-----\n");
    for other in [SignatureAlgorithm::Ed25519, SignatureAlgorithm::RsaPssSha512] {
        assert!(Key::public(other, pem.as_bytes()).is_err(), "{other:?}");
    }
    assert!(Key::public(SignatureAlgorithm::EcdsaP256Sha256, b"no key").is_err());
}

#[test]
fn components_have_the_values_of_the_rfc() {
    let head = request("X-List: a, b\r\nX-List:  c \r\nX-Dict: a=1, b=(x y);z\r\nX-Empty:\r\n");
    for (component, value) in [
        (r#""@method""#, "POST"),
        (r#""@target-uri""#, "https://example.com/foo?param=Value&Pet=dog"),
        (r#""@request-target""#, "/foo?param=Value&Pet=dog"),
        (r#""@scheme""#, "https"),
        (r#""@path""#, "/foo"),
        (r#""@query""#, "?param=Value&Pet=dog"),
        (r#""@query-param";name="param""#, "Value"),
        (r#""x-list""#, "a, b, c"),
        (r#""x-list";bs"#, ":YSwgYg==:, :Yw==:"),
        (r#""x-dict";key="b""#, "(x y);z"),
        (r#""x-empty""#, ""),
    ] {
        let all = base(&head, &format!("({component});created=1")).unwrap();
        let expected = format!("{component}: {value}\n\"@signature-params\": ({component});created=1");
        assert_eq!(all, expected);
    }
    for wrong in [
        r#"("@method" "@method")"#,
        r#"("x-none")"#,
        r#"("X-List")"#,
        r#"("@status")"#,
        r#"("@method";req)"#,
        r#"("x-list";tr)"#,
        r#"("x-dict";sf)"#,
        r#"("x-dict";key="q")"#,
        r#"("x-list";bs;key="a")"#,
        r#"("@query-param";name="none")"#,
        "(1)",
    ] {
        assert!(base(&head, wrong).is_err(), "{wrong}");
    }
}

/// RFC 9421 2.2.3 and 2.2.8.
#[test]
fn hosts_and_parameters_are_normal() {
    let mut head = request("");
    head.set_query(Some("var=this%20is%20a%20big%0Amultiline%20value&bar=with+plus+whitespace&fa%C3%A7ade%22%3A%20=something&two=1&two=2"));
    let of = |name: &str| base(&head, &format!("(\"@query-param\";name=\"{name}\")"));
    let line = |name: &str, value: &str| format!("\"@query-param\";name=\"{name}\": {value}\n");
    for (name, value) in [
        ("var", "this%20is%20a%20big%0Amultiline%20value"),
        ("bar", "with%20plus%20whitespace"),
        ("fa%C3%A7ade%22%3A%20", "something"),
    ] {
        assert!(
            of(name).unwrap().starts_with(&line(name, value)),
            "{:?}",
            of(name)
        );
    }
    assert!(of("two").is_err());
    head.set_query(None);
    let message = Message {
        authority: "WWW.Example.com:443",
        ..message(&head)
    };
    let text = r#"s=("@authority" "@query" "@target-uri")"#;
    let parsed: Dictionary = Parser::new(text).parse().unwrap();
    let Some(ListEntry::InnerList(list)) = parsed.get("s") else {
        panic!()
    };
    let base = String::from_utf8(message.signature_base(list).unwrap()).unwrap();
    assert!(
        base.starts_with(
            "\"@authority\": www.example.com\n\"@query\": ?\n\"@target-uri\": https://www.example.com/foo\n"
        ),
        "{base}"
    );
}

/// RFC 9530 appendix B.
#[test]
fn digests_of_bodies() {
    let fits = |field: &str, body: &[u8]| {
        let mut head = request("");
        head.headers.set_name(b"content-digest", field.as_bytes());
        digest_fits(&message(&head), body).is_ok()
    };
    let body = b"{\"hello\": \"world\"}\n";
    assert!(fits(
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",
        body
    ));
    assert!(fits(
        "md5=:AAAA:, sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",
        body
    ));
    assert!(!fits(
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",
        b"{}"
    ));
    // One that fits does not help one that does not.
    assert!(!fits(
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:, sha-512=:AAAA:",
        body
    ));
    assert!(!fits("md5=:AAAA:", body));
    assert!(!fits("sha-256=abc", body));
}
