//! Asks in gRPC, as Envoy does: `envoy.service.auth.v3.Authorization/Check`.
//!
//! The question is made on the worker, from the request; the answer is read on the background runtime, and what in it
//! the document does not allow is dropped there.

mod messages;

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use gatehouse_core::exchange::Exchange;
use gatehouse_core::tls::{ClientCertificate, Name};
use gatehouse_http1::Version;
use http_body::Body as _;
use prost::Message as _;
use reqwest::header::HeaderMap;
use reqwest::{Body, RequestBuilder};

use super::answer::{Answer, Edit, How, MOST_BODY, check_name};
use super::ask::{Sent, Wanted, said};
use messages::{
    Address, Allowed, Attributes, CheckRequest, CheckResponse, Denied, HeaderOption, HttpRequest,
    HttpResponse, Peer, Request, SocketAddress, Timestamp, TlsSession,
};

/// The method that is called.
pub const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

/// The most bytes of an answer.
const MOST: usize = MOST_BODY + 64 * 1024;

/// The question about a request, as gRPC has it on the wire.
pub fn question(
    ex: &Exchange,
    send: Option<&[Box<str>]>,
    sent: Sent,
    context: &HashMap<String, String>,
) -> Bytes {
    let message = CheckRequest {
        attributes: Some(attributes(ex, send, sent, context)),
    };
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(5 + length);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // Room was made for it.
    let _ = message.encode(&mut out);
    out.freeze()
}

fn attributes(
    ex: &Exchange,
    send: Option<&[Box<str>]>,
    sent: Sent,
    context: &HashMap<String, String>,
) -> Attributes {
    let (head, connection) = (&ex.request.head, &*ex.connection);
    let version = head.version;
    let protocol = i32::from(version == Version::Http3);
    let address = |address: String, port: u16| Address {
        socket_address: Some(SocketAddress {
            protocol,
            address,
            port_value: Some(port.into()),
        }),
    };
    let tls = connection.tls.as_deref();
    let certificate = tls.and_then(|tls| tls.client.as_ref());
    // Another hop's port would say nothing of the client.
    let is_peer = ex.client.ip == connection.peer;
    let source = Peer {
        address: Some(address(
            ex.client_text().to_owned(),
            if is_peer { connection.peer_port } else { 0 },
        )),
        principal: certificate.map(principal).unwrap_or_default(),
        certificate: String::new(),
    };
    let destination = connection.local.map(|local| Peer {
        address: Some(address(local.ip().to_canonical().to_string(), local.port())),
        ..Peer::default()
    });
    let mut path = head.path().to_owned();
    if let Some(query) = head.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut headers = fields(ex, send);
    if let Some(is_partial) = sent.is_partial {
        headers.insert("x-envoy-auth-partial-body".to_owned(), is_partial.to_string());
    }
    for (name, value) in [
        (":method", head.method.as_str()),
        (":path", &path),
        (":authority", head.authority()),
        (":scheme", ex.client.scheme),
    ] {
        headers.insert(name.to_owned(), value.to_owned());
    }
    let (body, raw_body) = match String::from_utf8(sent.body.to_vec()) {
        Ok(body) => (body, Bytes::new()),
        Err(_) => (String::new(), sent.body),
    };
    let size = sent.size.and_then(|size| i64::try_from(size).ok());
    Attributes {
        source: Some(source),
        destination,
        request: Some(Request {
            time: Some(Timestamp {
                seconds: i64::try_from(ex.unix_seconds()).unwrap_or_default(),
            }),
            http: Some(HttpRequest {
                id: ex.ids.request.as_str().to_owned(),
                method: head.method.as_str().to_owned(),
                headers,
                path,
                host: head.authority().to_owned(),
                scheme: ex.client.scheme.to_owned(),
                size: size.unwrap_or(-1),
                protocol: version.as_str().to_owned(),
                body,
                raw_body,
            }),
        }),
        context_extensions: context.clone(),
        tls_session: tls.map(|tls| TlsSession {
            sni: tls.sni.as_deref().unwrap_or_default().to_owned(),
        }),
    }
}

/// Header fields by lower-case names; several of one name with commas between, cookies with semicolons.
fn fields(ex: &Exchange, send: Option<&[Box<str>]>) -> HashMap<String, String> {
    let mut fields: HashMap<String, String> = HashMap::new();
    for field in ex.request.head.headers.iter() {
        let name = String::from_utf8_lossy(field.name).to_ascii_lowercase();
        let is_sent = send.is_none_or(|send| send.iter().any(|wanted| **wanted == *name));
        if !is_sent {
            continue;
        }
        let value = String::from_utf8_lossy(field.value);
        let between = if name == "cookie" { "; " } else { "," };
        fields
            .entry(name)
            .and_modify(|text| {
                text.push_str(between);
                text.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    fields
}

/// As Envoy names a client: the first URI of its certificate, else the first host name, else the subject.
fn principal(certificate: &ClientCertificate) -> String {
    let uri = certificate.names.iter().find_map(|name| match name {
        Name::Uri(uri) => Some(uri),
        _ => None,
    });
    let dns = certificate.names.iter().find_map(|name| match name {
        Name::Dns(dns) => Some(dns),
        _ => None,
    });
    uri.or(dns).unwrap_or(&certificate.subject).to_string()
}

/// Asks, and reads the answer. The error is for the log.
pub async fn ask(request: RequestBuilder, wanted: &Wanted) -> Result<Answer, String> {
    let again = request.try_clone();
    let response = match (request.send().await, again) {
        // What idled may have been closed since, by a service that was started anew: to ask twice does no harm.
        (Err(error), Some(again)) if !error.is_connect() && !error.is_timeout() => again.send().await,
        (answered, _) => answered,
    };
    let response = response.map_err(said)?;
    let status = response.status().as_u16();
    if status != 200 {
        return Err(format!("the service answered HTTP {status}, which is no gRPC"));
    }
    let fields = response.headers().clone();
    let is_grpc = |value: &[u8]| value.starts_with(b"application/grpc");
    if !fields
        .get("content-type")
        .is_some_and(|value| is_grpc(value.as_bytes()))
    {
        return Err("the service answered in something else than gRPC".to_owned());
    }
    let mut body = Body::from(response);
    let (mut bytes, mut trailers) = (BytesMut::new(), None);
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame.map_err(said)?.into_data() {
            Ok(data) if bytes.len() + data.len() > MOST => {
                return Err(format!("the answer has more than {MOST} bytes"));
            }
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    // A call that failed at once has its status in the head.
    let ending = trailers
        .as_ref()
        .filter(|fields| fields.contains_key("grpc-status"));
    ended_well(ending.unwrap_or(&fields))?;
    let message = one_message(&bytes)?;
    let response =
        CheckResponse::decode(message).map_err(|error| format!("the answer cannot be read: {error}"))?;
    read(response, wanted)
}

fn ended_well(fields: &HeaderMap) -> Result<(), String> {
    let text = |name| {
        fields
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
    };
    match text("grpc-status").as_deref() {
        Some("0") => Ok(()),
        Some(status) => {
            let message = text("grpc-message").unwrap_or_default();
            Err(format!("the call ended with status {status} `{message}`"))
        }
        None => Err("the call ended without a status".to_owned()),
    }
}

/// The one message of an answer: a byte that says whether it is compressed, four of its length, itself.
fn one_message(bytes: &[u8]) -> Result<&[u8], String> {
    let Some((mut head, message)) = bytes.split_at_checked(5) else {
        return Err("the answer is cut off".to_owned());
    };
    if head.get_u8() != 0 {
        return Err("the answer is compressed, which was not offered".to_owned());
    }
    if usize::try_from(head.get_u32()).ok() != Some(message.len()) {
        return Err("the answer is not exactly one message".to_owned());
    }
    Ok(message)
}

/// What counts of an answer. As for Envoy it allows if its status is 0, also by not being there; what contradicts
/// itself refuses.
fn read(response: CheckResponse, wanted: &Wanted) -> Result<Answer, String> {
    let is_ok = response.status.is_none_or(|status| status.code == 0);
    Ok(match response.http_response {
        Some(HttpResponse::Failed(_)) => return Err("the service says that it failed".to_owned()),
        Some(HttpResponse::Denied(denied)) => refusal(denied, wanted),
        Some(HttpResponse::Ok(allowed)) if is_ok => permission(allowed, wanted),
        None if is_ok => permission(Allowed::default(), wanted),
        Some(HttpResponse::Ok(_)) | None => refusal(Denied::default(), wanted),
    })
}

fn permission(allowed: Allowed, wanted: &Wanted) -> Answer {
    let is_in = |list: &[Box<str>], edit: &Edit| list.contains(&edit.name);
    let edits = |options: &[HeaderOption], otherwise| -> Vec<Edit> {
        options
            .iter()
            .filter_map(|option| edit(option, otherwise))
            .collect()
    };
    let mut accepted = edits(&allowed.headers, How::Set);
    let subject = wanted.subject.as_ref().and_then(|name| {
        let found = accepted.iter().find(|edit| edit.name == *name)?;
        std::str::from_utf8(&found.value)
            .ok()
            .filter(|name| !name.is_empty())
            .map(Box::from)
    });
    accepted.retain(|edit| is_in(&wanted.accept, edit));
    let mut relayed = edits(&allowed.response_headers_to_add, How::Append);
    relayed.retain(|edit| is_in(&wanted.accept_response, edit));
    let removed = allowed
        .headers_to_remove
        .iter()
        .filter(|name| check_name(name).is_ok());
    let parameters = allowed.query_parameters_to_set.into_iter();
    Answer {
        is_allowed: true,
        removed: removed.map(|name| name.to_ascii_lowercase().into()).collect(),
        accepted,
        unset: allowed.query_parameters_to_remove,
        set: parameters.map(|one| (one.key, one.value)).collect(),
        subject,
        relayed,
        ..Answer::default()
    }
}

fn refusal(denied: Denied, wanted: &Wanted) -> Answer {
    let status = denied.status.and_then(|status| u16::try_from(status.code).ok());
    let mut answer = Answer {
        status: status.filter(|status| (200..600).contains(status)).unwrap_or(403),
        relayed: denied
            .headers
            .iter()
            .filter_map(|option| edit(option, How::Append))
            .collect(),
        ..Answer::default()
    };
    if wanted.relay {
        answer.body = denied.body.into();
    }
    answer
}

/// A field that may be handed on. What is said by neither `append` nor `append_action` is done as `otherwise` says:
/// 0 is the number of an action as well.
fn edit(option: &HeaderOption, otherwise: How) -> Option<Edit> {
    let header = option.header.as_ref()?;
    check_name(&header.key).ok()?;
    let value = if header.value.is_empty() {
        header.raw_value.as_slice()
    } else {
        header.value.as_bytes()
    };
    let is_sound = value
        .iter()
        .all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
    if !is_sound || (value.is_empty() && !option.keep_empty_value) {
        return None;
    }
    let how = match (
        option.append.as_ref().map(|append| append.value),
        option.append_action,
    ) {
        (Some(true), _) => How::Append,
        (Some(false), _) | (None, 2) => How::Set,
        (None, 1) => How::IfAbsent,
        (None, 3) => How::IfPresent,
        (None, _) => otherwise,
    };
    Some(Edit {
        name: header.key.to_ascii_lowercase().into(),
        value: value.into(),
        how,
    })
}

#[cfg(test)]
mod tests;
