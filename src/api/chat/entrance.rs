//! `/open/im` and `/open/com`: the ways into a chat, for a customer and for the staff. Both lead to the chat page, with
//! everything it needs to know in its query.
//!
//! With `auth.insecure` they are the original's: who says to be somebody is believed, and the key is one that anybody
//! can compute. Else a customer is who its token says, or a new one; a backend with a key says who it is; and the page
//! gets a token, where the original's page expects its key and in the address that it sends messages to, so that
//! page works unchanged.

use hyper::StatusCode;
use hyper::header::HOST;
use hyper::header::HeaderValue;
use hyper::header::LOCATION;
use hyper::header::REFERER;
use hyper::header::SET_COOKIE;
use serde_json::Value;
use serde_json::json;

use crate::api::call::Call;
use crate::api::chat::query::Query;
use crate::api::chat::query::escaped;
use crate::api::chat::reply::Fault;
use crate::api::chat::token;
use crate::api::chat::who;
use crate::api::chat::who::Who;
use crate::api::reply;
use crate::api::reply::Answer;
use crate::chat::Shop;
use crate::config::Config;
use crate::ids::MessageId;
use crate::wire::orim;

/// The most bytes of a user's or shop's id.
const ID_MAX: usize = 64;

/// The most bytes of any other text that is passed on.
const TEXT_MAX: usize = 512;

/// How many ids a new customer is offered: one is passed over when another pair has the room.
const TRIES: usize = 8;

/// What all chats share, with which the original's pages are let in.
const PLATFORM: &str = "web";
const SYSTEM_ROOM: &str = "10000";

/// Who goes to the page, and whom the page shows on the other side.
struct Page<'a> {
    room: &'a str,
    user: Side<'a>,
    other: Side<'a>,
    /// What others see beside the user.
    info: Option<Value>,
    referer: Option<&'a str>,
}

struct Side<'a> {
    id: &'a str,
    name: &'a str,
    face: &'a str,
}

/// A customer goes to a chat.
pub(super) async fn customer(call: &Call<'_>, query: &Query) -> Result<Answer, Fault> {
    let config = call.means.config.load_full();
    let who = who::of(call, query).await?;
    let shop = shop(call, &config, query, who.as_ref())?;
    let asked = query.text("mid").map(ToOwned::to_owned);
    let known = match &who {
        Some(Who::Anyone) => who::cookie(call.head, "mid").filter(|mid| !mid.is_empty()).or(asked),
        Some(Who::Backend(_)) => asked,
        // The staff has its own way in; here it would be a customer of its own shop.
        Some(Who::User(bearer)) => Some(bearer.user.to_string()).filter(|user| *user != shop.id),
        None => None,
    };
    let (mid, room) = match known {
        Some(mid) => {
            let room = room(call, &shop, &mid)?;
            (mid, room)
        }
        None => new_customer(call, &shop).await?,
    };
    let nickname = query.text("nickname").map_or_else(|| format!("新人-{mid}"), ToOwned::to_owned);
    let face = query.text("face").unwrap_or(&config.chat.face).to_owned();
    let referer = call.head.headers.get(REFERER).and_then(|value| value.to_str().ok());
    let page = Page {
        room: &room,
        user: Side { id: &mid, name: &nickname, face: &face },
        other: Side { id: &shop.id, name: &shop.name, face: &shop.face },
        info: None,
        referer,
    };
    lead(call, &config, query, &page)
}

/// The staff of a shop goes to the chat with a customer.
pub(super) async fn staff(call: &Call<'_>, query: &Query) -> Result<Answer, Fault> {
    let config = call.means.config.load_full();
    let who = who::needed(call, query).await?;
    let mut shop = shop(call, &config, query, Some(&who))?;
    who::staff(call, query, &shop.id).await?;
    let mid = match query.text("mid") {
        Some(mid) => mid.to_owned(),
        None => new_customer(call, &shop).await?.0,
    };
    let room = room(call, &shop, &mid)?;
    call.means.gateway.chat().open_room(&shop.id, &mid, super::unix_ms())?;
    // What was read is what the link of the list says: up to the last message in it.
    if let Some(id) = query.text("seq").and_then(|seq| seq.parse().ok()).filter(|id| *id > 0) {
        call.means.gateway.mark_read(&shop.id, &room, MessageId::from_number(id))?;
    }
    let said = |name: &str, usual: String| query.text(name).map_or(usual, ToOwned::to_owned);
    let nickname = said("nickname", format!("新人-{mid}"));
    let face = said("face", config.chat.face.clone());
    shop.name = said("shop_name", shop.name);
    shop.face = said("shop_face", shop.face);
    let info = match &who {
        Who::User(bearer) => Some(json!({ "staff": &*bearer.user })),
        Who::Backend(_) | Who::Anyone => None,
    };
    let page = Page {
        room: &room,
        user: Side { id: &shop.id, name: &shop.name, face: &shop.face },
        other: Side { id: &mid, name: &nickname, face: &face },
        info,
        referer: None,
    };
    lead(call, &config, query, &page)
}

/// The shop that is meant. Others than the known ones open for a backend, and in a trial.
fn shop(call: &Call<'_>, config: &Config, query: &Query, who: Option<&Who>) -> Result<Shop, Fault> {
    let usual = config.chat.shops.first();
    let id = query.text("shop_id").or(usual.map(|shop| shop.id.as_str()));
    let id = id.ok_or_else(|| Fault::Request("shop_id is missing".to_owned()))?;
    let chat = call.means.gateway.chat();
    if let Some(shop) = chat.shop(id)? {
        return Ok(shop);
    }
    if !matches!(who, Some(Who::Backend(_) | Who::Anyone)) {
        return Err(Fault::Nothing(format!(
            "there is no shop {id:?}: add it as [[chat.shop]], or ask with a key"
        )));
    }
    check_id("shop_id", id)?;
    let usual = usual.map(Shop::from).unwrap_or_default();
    let shop = Shop { id: id.to_owned(), staff: Vec::new(), ..usual };
    chat.open_shop(&shop, super::unix_ms())?;
    Ok(shop)
}

/// The room of a shop and a customer, which may be nobody else's.
fn room(call: &Call<'_>, shop: &Shop, mid: &str) -> Result<String, Fault> {
    check_id("mid", mid)?;
    let chat = call.means.gateway.chat();
    if mid == shop.id || chat.shop(mid)?.is_some() {
        return Err(Fault::Request(format!("{mid:?} is a shop: its staff goes in by /open/com")));
    }
    Ok(chat.check_room(&shop.id, mid)?)
}

/// An id for a customer who comes without one, and its room.
async fn new_customer(call: &Call<'_>, shop: &Shop) -> Result<(String, String), Fault> {
    let mut refused = Fault::Original("发送失败~");
    for _ in 0..TRIES {
        let mid = call.means.gateway.chat().new_visitor(super::unix_ms()).await?;
        match room(call, shop, &mid) {
            Ok(room) => return Ok((mid, room)),
            Err(fault) => refused = fault,
        }
    }
    Err(refused)
}

fn check_id(name: &str, id: &str) -> Result<(), Fault> {
    let bad = id.is_empty() || id.len() > ID_MAX || id.chars().any(|c| c.is_control() || c.is_whitespace());
    if bad {
        return Err(Fault::Request(format!("{name} should be 1 to {ID_MAX} bytes without white space")));
    }
    Ok(())
}

/// To the chat page.
fn lead(call: &Call<'_>, config: &Config, query: &Query, page: &Page<'_>) -> Result<Answer, Fault> {
    let target = match query.text("url") {
        Some(url) => allowed(config, url)?,
        None => &config.chat.page,
    };
    let token = if config.auth.insecure {
        None
    } else {
        Some(token::issue(config, page.user.id, page.room, page.info.clone())?)
    };
    let name = page.room.strip_prefix(orim::ROOM_TYPE).unwrap_or(page.room);
    // The original lists the shop's room in both directions.
    let shop = if query.text("shop_id").is_some_and(|shop| shop == page.user.id) {
        page.user.id
    } else {
        page.other.id
    };
    let accepts = format!("[{name},{shop},{SYSTEM_ROOM}]");
    let key = token.clone().unwrap_or_else(|| orim::key(page.user.id, page.room));
    let (subscribe, push) = (subscribe_url(call, config), push_url(call, config, token.as_deref()));
    let mut location = beginning(target);
    let mut pairs = vec![
        ("room_id", page.room.to_owned()),
        ("accepts", accepts),
        ("key", key),
        ("mid", page.user.id.to_owned()),
        // Twice, here and below: the page undoes it twice.
        ("nickname", escaped(cut(page.user.name))),
        ("face", cut(page.user.face).to_owned()),
        ("shop_id", page.other.id.to_owned()),
        ("shop_name", escaped(cut(page.other.name))),
        ("shop_face", cut(page.other.face).to_owned()),
        ("platform", PLATFORM.to_owned()),
        ("suburl", subscribe),
        ("pushurl", push),
    ];
    pairs.extend(page.referer.map(|referer| ("referer", cut(referer).to_owned())));
    pairs.extend(token.clone().map(|token| ("token", token)));
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    location.push_str(&pairs.join("&"));
    let mut answer = reply::with(StatusCode::MOVED_PERMANENTLY, "text/plain", "");
    let location = HeaderValue::from_str(&location);
    let location = location.map_err(|_| Fault::Request("url can not stand in a header".to_owned()))?;
    answer.headers_mut().insert(LOCATION, location);
    if let Some(token) = token {
        let age = token::ttl(config).as_secs();
        let secure = if is_https(call) { "; Secure" } else { "" };
        let cookie =
            format!("{}={token}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}", who::COOKIE_NAME);
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            answer.headers_mut().insert(SET_COOKIE, cookie);
        }
    }
    Ok(answer)
}

/// A page to which a request may lead: of this host, or of an origin that clients may come from. Others would get the
/// token.
fn allowed<'a>(config: &Config, url: &'a str) -> Result<&'a str, Fault> {
    let is_local = url.starts_with('/') && !url.starts_with("//") && !url.contains('\\');
    let is_allowed = config.gateway.allowed_origins.iter().any(|origin| {
        url.strip_prefix(origin.as_str()).is_some_and(|rest| rest.starts_with('/') || rest.starts_with('?'))
    });
    if is_local || is_allowed || config.auth.insecure {
        return Ok(url);
    }
    Err(Fault::Request(
        "url should be a path of this host, or of an origin in gateway.allowed_origins".to_owned(),
    ))
}

fn beginning(page: &str) -> String {
    let joint = match page.as_bytes().last() {
        Some(b'?' | b'&') => "",
        _ if page.contains('?') => "&",
        _ => "?",
    };
    format!("{page}{joint}")
}

fn cut(text: &str) -> &str {
    let end =
        text.char_indices().map(|(index, c)| index + c.len_utf8()).take_while(|end| *end <= TEXT_MAX).last();
    text.split_at(end.unwrap_or(0)).0
}

fn subscribe_url(call: &Call<'_>, config: &Config) -> String {
    let scheme = if is_https(call) { "wss" } else { "ws" };
    config.chat.subscribe_url.clone().unwrap_or_else(|| format!("{scheme}://{}/orim/sub", host(call)))
}

/// The page writes its own query behind this address, with a question mark: what stands before it stays readable.
fn push_url(call: &Call<'_>, config: &Config, token: Option<&str>) -> String {
    let scheme = if is_https(call) { "https" } else { "http" };
    let url = config.chat.push_url.clone().unwrap_or_else(|| format!("{scheme}://{}/open/push", host(call)));
    match token {
        Some(token) => format!("{}token={token}&", beginning(&url)),
        None => url,
    }
}

fn host<'a>(call: &'a Call<'_>) -> &'a str {
    let host = call.head.headers.get(HOST).and_then(|host| host.to_str().ok());
    let is_host =
        |host: &&str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte));
    host.filter(is_host).unwrap_or("localhost")
}

fn is_https(call: &Call<'_>) -> bool {
    call.head.headers.get("x-forwarded-proto").is_some_and(|scheme| scheme.as_bytes() == b"https")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_site_does_not_get_the_token() {
        let mut config = Config::default();
        config.gateway.allowed_origins = vec!["https://shop.example".to_owned()];
        for url in ["/im.html", "/chat?x=1", "https://shop.example/im.html?", "https://shop.example?"] {
            assert!(allowed(&config, url).is_ok(), "{url}");
        }
        for url in [
            "https://evil.example/",
            "//evil.example",
            "/\\evil.example",
            "https://shop.example.evil.example/",
            "https://shop.example@evil.example/",
            "javascript:alert(1)",
        ] {
            assert!(allowed(&config, url).is_err(), "{url}");
        }
        config.auth.insecure = true;
        assert!(allowed(&config, "https://evil.example/").is_ok(), "as in the original, in a trial");
    }

    #[test]
    fn a_query_is_added_to_any_address() {
        for (page, begun) in
            [("/im", "/im?"), ("/im?", "/im?"), ("/im?a=1", "/im?a=1&"), ("/im?a&", "/im?a&")]
        {
            assert_eq!(beginning(page), begun);
        }
    }

    #[test]
    fn long_texts_are_cut_between_letters() {
        let text = "客".repeat(200);
        assert_eq!(cut(&text).chars().count(), TEXT_MAX / 3);
        assert_eq!(cut("short"), "short");
    }
}
