//! What the staff's console shows, and what was said: `/open/finduserlist`, `/open/history`, `/open/listmsg`, `/open/del`.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::body::Incoming;
use serde_json::Value;
use serde_json::json;

use crate::api::call::Call;
use crate::api::chat::form;
use crate::api::chat::query::Query;
use crate::api::chat::reply;
use crate::api::chat::reply::Fault;
use crate::api::chat::talk;
use crate::api::chat::who;
use crate::api::reply::Answer;
use crate::chat::room_of;
use crate::clock;
use crate::gateway;
use crate::gateway::Publication;

/// How many customers the original lists.
const CUSTOMERS: usize = 51;

/// How many notices are taken at once at the most, to find one whose customer is still known.
const NOTICES: usize = 16;

/// Messages of a page: usually, and at the most.
const PAGE: usize = 15;
const PAGE_MAX: usize = 100;

/// The most pages of the numbered kind, which reads all those before as well.
const PAGES_MAX: usize = 100;

/// The customers of a shop: the last active ones, or one of whom there is something new.
pub(super) async fn customers(call: &Call<'_>, query: Query, body: Incoming) -> Result<Answer, Fault> {
    let query = query.and(form(call, body).await?);
    let shop = query.text("shop_id").ok_or(Fault::Original("发送失败~"))?.to_owned();
    who::staff(call, &query, &shop).await?;
    let chat = call.means.gateway.chat();
    let only_news =
        query.text("flag").and_then(|flag| flag.parse::<f64>().ok()).is_some_and(|flag| flag >= 1.0);
    let mut listed = Vec::new();
    if only_news {
        for _ in 0..NOTICES {
            let Some(customer) = chat.next_notice(&shop, clock::uptime()) else { break };
            if let Some(row) = row(call, &shop, &customer).await? {
                listed.push(row);
                break;
            }
        }
    } else {
        for customer in chat.customers(&shop, CUSTOMERS)? {
            listed.extend(row(call, &shop, &customer.id).await?);
        }
    }
    // An empty list is an object in the original, whose tables do not tell the two apart.
    let data = if listed.is_empty() { json!({}) } else { Value::Array(listed) };
    Ok(reply::done(Some(data)))
}

/// What the console shows of a customer; none when nothing is known of it.
async fn row(call: &Call<'_>, shop: &str, customer: &str) -> Result<Option<Value>, Fault> {
    let gateway = &call.means.gateway;
    let room = room_of(shop, customer);
    let Some(profile) = gateway.chat().profile(customer, &room)? else { return Ok(None) };
    let standings = gateway.unread(shop, std::slice::from_ref(&room)).await?;
    let Some(standing) = standings.into_iter().next() else { return Ok(None) };
    Ok(Some(json!({
        "user": profile.json(),
        "online": u8::from(gateway.is_online(customer)),
        "seq": standing.read.map_or_else(|| json!(0), |read| json!(read.to_string())),
        "num": standing.unread.count,
        "last": standing.last.map_or_else(String::new, |last| last.chat_message(&room).json()),
    })))
}

/// A page of what was said in a room, the newest first, before a message: `{"success","msg","data"}`.
pub(super) async fn history(call: &Call<'_>, query: Query) -> Result<Answer, Fault> {
    let room = query.text("room_id").ok_or_else(|| Fault::Request("room_id is missing".to_owned()))?;
    talk::reader(call, &query, room).await?;
    let before = match query.text("before") {
        None => None,
        Some(text) => Some(text.parse::<u64>().ok().filter(|offset| *offset > 0).ok_or_else(|| {
            Fault::Request("before should be the \"next\" of the page that is shown".to_owned())
        })?),
    };
    let limit = limit(&query);
    let (messages, next) = page(call, room, before, limit).await?;
    let reply = json!({ "success": true, "msg": "发送成功.", "data": listed(room, &messages), "next": next });
    Ok(reply::with(StatusCode::OK, &reply))
}

/// The same as golang-im has it, by the number of the page: `{"code","success","msg","result"}`.
pub(super) async fn list_messages(call: &Call<'_>, query: Query, body: Incoming) -> Result<Answer, Fault> {
    let query = query.and(form(call, body).await?);
    let Some(room) = query.text("room_id") else {
        return Ok(reply::with(
            StatusCode::OK,
            &json!({ "code": -1, "success": false, "msg": "参数不能为空", "result": null }),
        ));
    };
    talk::reader(call, &query, room).await?;
    let number = query.text("page").and_then(|page| page.parse::<usize>().ok());
    let number = number.filter(|page| (1..=PAGES_MAX).contains(page)).unwrap_or(1);
    let limit = limit(&query);
    let mut before = None;
    let mut messages = Vec::new();
    for turn in 1..=number {
        let next;
        (messages, next) = page(call, room, before, limit).await?;
        if next.is_none() && turn < number {
            messages.clear();
            break;
        }
        before = next.or(before);
    }
    let result = json!({ "limit": limit, "page": number, "list": listed(room, &messages) });
    let reply = json!({ "code": 200, "success": true, "msg": "success", "result": result });
    Ok(reply::with(StatusCode::OK, &reply))
}

/// Lets go of the customers who were silent for too long, in all shops.
pub(super) async fn clean(call: &Call<'_>, query: Query) -> Result<Answer, Fault> {
    let shop = query
        .text("shop_id")
        .map(ToOwned::to_owned)
        .or_else(|| call.means.config.load().chat.shops.first().map(|shop| shop.id.clone()));
    who::staff(call, &query, &shop.unwrap_or_default()).await?;
    let (gone, more) = call.means.gateway.chat().clean(super::unix_ms())?;
    call.managed((None, None), None, &format!("{gone} silent customers are forgotten"));
    Ok(reply::done(Some(json!({ "removed": gone, "more": more }))))
}

/// Messages before an offset, and the offset before which the next page begins.
async fn page(
    call: &Call<'_>,
    room: &str,
    before: Option<u64>,
    limit: usize,
) -> Result<(Vec<Arc<Publication>>, Option<u64>), Fault> {
    let query = gateway::Query { limit, since: before, reverse: true };
    let page = call.means.gateway.history(room, query, None).await?;
    let last = page.publications.last().map(|last| last.offset);
    let next = last.filter(|offset| *offset > 1 && page.publications.len() == limit);
    Ok((page.publications, next))
}

fn listed(room: &str, messages: &[Arc<Publication>]) -> Vec<Value> {
    let message = |message: &Arc<Publication>| json!(message.chat_message(room));
    messages.iter().map(message).collect()
}

fn limit(query: &Query) -> usize {
    let limit = query.text("limit").and_then(|limit| limit.parse().ok());
    limit.filter(|limit| (1..=PAGE_MAX).contains(limit)).unwrap_or(PAGE)
}
