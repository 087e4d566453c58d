use super::messages::{BoolValue, Failed, HeaderValue, HttpStatus, QueryParameter, Status};
use super::*;

fn wanted() -> Wanted {
    Wanted {
        accept: ["x-user-id", "x-list"].map(Box::from).into(),
        accept_response: ["x-seen"].map(Box::from).into(),
        subject: Some("x-user-id".into()),
        relay: true,
    }
}

fn option(key: &str, value: &str) -> HeaderOption {
    HeaderOption {
        header: Some(HeaderValue {
            key: key.to_owned(),
            value: value.to_owned(),
            raw_value: Vec::new(),
        }),
        ..HeaderOption::default()
    }
}

fn said(status: Option<i32>, http_response: Option<HttpResponse>) -> Answer {
    let status = status.map(|code| Status { code });
    read(
        CheckResponse {
            status,
            http_response,
        },
        &wanted(),
    )
    .unwrap()
}

#[test]
fn what_contradicts_itself_refuses() {
    let (ok, denied) = (
        HttpResponse::Ok(Allowed::default()),
        HttpResponse::Denied(Denied::default()),
    );
    for (status, response, is_allowed) in [
        (None, None, true),
        (Some(0), None, true),
        (None, Some(ok.clone()), true),
        (Some(0), Some(ok.clone()), true),
        (Some(7), None, false),
        (Some(7), Some(ok), false),
        (Some(0), Some(denied.clone()), false),
        (Some(7), Some(denied), false),
    ] {
        let answer = said(status, response.clone());
        assert_eq!(answer.is_allowed, is_allowed, "{status:?} {response:?}");
        assert!(is_allowed || answer.status == 403);
    }
}

#[test]
fn only_what_is_listed_and_sound_is_taken_over() {
    let appended = HeaderOption {
        append: Some(BoolValue { value: true }),
        ..option("X-List", "b")
    };
    let raw = HeaderOption {
        header: Some(HeaderValue {
            key: "x-list".to_owned(),
            raw_value: b"a\r\nx-admin: 1".to_vec(),
            ..HeaderValue::default()
        }),
        ..HeaderOption::default()
    };
    let headers = vec![
        option("X-User-Id", "ada"),
        option("X-Other", "1"),
        option(":path", "/admin"),
        option("Host", "evil"),
        option("x-user-id", "a\nb"),
        appended,
        raw,
    ];
    let answer = said(
        None,
        Some(HttpResponse::Ok(Allowed {
            headers,
            headers_to_remove: vec!["Authorization".into(), "Content-Length".into(), ":method".into()],
            response_headers_to_add: vec![option("x-seen", "1"), option("x-user-id", "1")],
            query_parameters_to_set: vec![QueryParameter {
                key: "a".into(),
                value: "1".into(),
            }],
            query_parameters_to_remove: vec!["b".into()],
        })),
    );
    let names = |edits: &[Edit]| -> Vec<(String, How)> {
        edits
            .iter()
            .map(|edit| {
                (
                    format!("{}={}", edit.name, String::from_utf8_lossy(&edit.value)),
                    edit.how,
                )
            })
            .collect()
    };
    let expected = [
        ("x-user-id=ada".to_owned(), How::Set),
        ("x-list=b".to_owned(), How::Append),
    ];
    assert_eq!(names(&answer.accepted), expected);
    assert_eq!(names(&answer.relayed), [("x-seen=1".to_owned(), How::Append)]);
    assert_eq!(answer.removed, [Box::<str>::from("authorization")]);
    assert_eq!(answer.subject.as_deref(), Some("ada"));
    assert_eq!(
        (answer.unset, answer.set),
        (vec!["b".to_owned()], vec![("a".to_owned(), "1".to_owned())])
    );
}

#[test]
fn the_status_of_a_refusal_is_one_of_http() {
    for (code, status) in [
        (401, 401),
        (302, 302),
        (0, 403),
        (-1, 403),
        (101, 403),
        (99_999, 403),
    ] {
        let denied = Denied {
            status: Some(HttpStatus { code }),
            ..Denied::default()
        };
        assert_eq!(
            said(Some(7), Some(HttpResponse::Denied(denied))).status,
            status,
            "{code}"
        );
    }
}

#[test]
fn an_answer_is_exactly_one_message() {
    assert_eq!(one_message(&[0, 0, 0, 0, 2, 1, 2]), Ok(&[1, 2][..]));
    assert_eq!(one_message(&[0, 0, 0, 0, 0]), Ok(&[][..]));
    for wrong in [
        &[][..],
        &[0, 0, 0, 0],
        &[1, 0, 0, 0, 0],
        &[0, 0, 0, 0, 1],
        &[0, 0, 0, 0, 0, 1],
        &[0, 255, 255, 255, 255, 1],
    ] {
        assert!(one_message(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_service_that_failed_has_not_decided() {
    for status in [None, Some(Status { code: 0 }), Some(Status { code: 7 })] {
        let http_response = Some(HttpResponse::Failed(Failed {}));
        let response = CheckResponse {
            status,
            http_response,
        };
        assert!(read(response, &wanted()).is_err());
    }
}
