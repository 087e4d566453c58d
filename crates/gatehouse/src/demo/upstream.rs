//! The services of the demo: users, orders and products, each a small HTTP server with fixed data.
//!
//! They share one thread that lives until the process ends, as the services behind a real gateway do.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Path, RawQuery};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

/// One of the three.
#[derive(Debug, Clone, Copy)]
pub(super) enum Service {
    Users,
    Orders,
    Products,
}

/// Starts a service on a port of 127.0.0.1 that the system chooses, and says where it listens.
pub(super) fn start(service: Service) -> anyhow::Result<SocketAddr> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let listener = listener.context("cannot get a port on 127.0.0.1")?;
    let address = listener.local_addr()?;
    let router = service.router();
    std::thread::Builder::new()
        .name("demo".to_owned())
        .spawn(move || {
            if let Err(error) = runtime.block_on(axum::serve(listener, router).into_future()) {
                tracing::error!(?service, %error, "a service of the demo ended");
            }
        })?;
    Ok(address)
}

impl Service {
    fn router(self) -> Router {
        match self {
            Self::Users => Router::new()
                .route("/users", get(async || reply(&users())))
                .route("/users/{id}", get(async |Path(id): Path<u64>| one(&users(), id))),
            Self::Orders => Router::new()
                .route("/orders", get(async || reply(&orders())).post(create_order))
                .route(
                    "/orders/{id}",
                    get(async |Path(id): Path<u64>| one(&orders(), id)),
                ),
            Self::Products => Router::new()
                .route(
                    "/products",
                    get(async |RawQuery(query)| reply(&by_category(query.as_deref()))),
                )
                .route(
                    "/products/{id}",
                    get(async |Path(id): Path<u64>| one(&products(), id)),
                ),
        }
    }
}

fn users() -> Value {
    json!([
        { "id": 1, "name": "Ada Lovelace", "email": "ada@example.com" },
        { "id": 2, "name": "Grace Hopper", "email": "grace@example.com" },
        { "id": 3, "name": "Alan Turing", "email": "alan@example.com" },
    ])
}

fn orders() -> Value {
    json!([
        { "id": 1001, "user_id": 1, "product_id": 3, "status": "shipped" },
        { "id": 1002, "user_id": 2, "product_id": 1, "status": "paid" },
    ])
}

fn products() -> Value {
    json!([
        { "id": 1, "name": "Mechanical keyboard", "category": "hardware", "price": "89.00" },
        { "id": 2, "name": "Noise meter", "category": "hardware", "price": "42.50" },
        { "id": 3, "name": "Notes on the Analytical Engine", "category": "books", "price": "19.90" },
    ])
}

/// All products, or those of the category that the query names.
fn by_category(query: Option<&str>) -> Value {
    let category = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .find_map(|pair| pair.strip_prefix("category="));
    let Some(category) = category else {
        return products();
    };
    items(&products())
        .iter()
        .filter(|product| product["category"] == category)
        .cloned()
        .collect()
}

/// An order is made of a user and a product; the rest is ours.
async fn create_order(body: String) -> Response {
    let order: Value = serde_json::from_str(&body).unwrap_or_default();
    let (Some(user), Some(product)) = (order["user_id"].as_u64(), order["product_id"].as_u64()) else {
        let error = json!({ "error": "an order needs a `user_id` and a `product_id`" });
        return (StatusCode::BAD_REQUEST, reply(&error)).into_response();
    };
    let order = json!({ "id": 1003, "user_id": user, "product_id": product, "status": "new" });
    (
        StatusCode::CREATED,
        [(header::LOCATION, "/v1/orders/1003")],
        reply(&order),
    )
        .into_response()
}

fn one(list: &Value, id: u64) -> Response {
    match items(list).iter().find(|item| item["id"] == id) {
        Some(item) => reply(item),
        None => (
            StatusCode::NOT_FOUND,
            reply(&json!({ "error": "no such item", "id": id })),
        )
            .into_response(),
    }
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn reply(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], format!("{value}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "{request}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(address: SocketAddr, path: &str) -> String {
        ask(
            address,
            &format!("GET {path} HTTP/1.1\r\nhost: demo\r\nconnection: close\r\n\r\n"),
        )
    }

    #[test]
    fn services_answer_with_their_data() {
        let users = start(Service::Users).unwrap();
        assert!(get(users, "/users/1").contains("Ada Lovelace"));
        assert!(get(users, "/users/9").starts_with("HTTP/1.1 404"));
        assert!(get(users, "/products").starts_with("HTTP/1.1 404"));

        let products = start(Service::Products).unwrap();
        let books = get(products, "/products?category=books");
        assert!(
            books.contains("Analytical Engine") && !books.contains("keyboard"),
            "{books}"
        );
    }

    #[test]
    fn an_order_is_created_or_refused() {
        let orders = start(Service::Orders).unwrap();
        let post = |body: &str| {
            let length = body.len();
            let head = format!(
                "POST /orders HTTP/1.1\r\nhost: demo\r\nconnection: close\r\ncontent-length: {length}"
            );
            ask(orders, &format!("{head}\r\n\r\n{body}"))
        };
        assert!(post(r#"{"user_id":1,"product_id":3}"#).starts_with("HTTP/1.1 201"));
        assert!(post("user_id=1").starts_with("HTTP/1.1 400"));
    }
}
