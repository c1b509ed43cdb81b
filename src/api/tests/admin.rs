//! The admin calls: who may make them, what they refuse, and what they leave behind.

use super::*;

mod access;
mod accounts;
mod forgetting;
mod hosts;

const JSON: &str = "application/json";

/// A call with the token; the body may be none.
async fn call(world: &World, verb: &str, path: &str, body: Value) -> Answer {
    let request = Request::builder().method(verb).uri(format!("/admin{path}"));
    let request = request.header("authorization", format!("Bearer {ADMIN_TOKEN}"));
    let request = match body {
        Value::Null => request.body(Body::empty()),
        body => request.header("content-type", JSON).body(Body::from(body.to_string())),
    };
    world.internal_send(request.unwrap()).await
}

async fn get(world: &World, path: &str) -> Value {
    call(world, "GET", path, Value::Null).await.ok()
}

async fn post(world: &World, path: &str, body: Value) -> Value {
    call(world, "POST", path, body).await.ok()
}

async fn host(world: &World, name: &str) -> Value {
    let hosts = get(world, "/pds/list").await;
    hosts.as_array().unwrap().iter().find(|host| host["Host"] == name).cloned().unwrap_or_default()
}
