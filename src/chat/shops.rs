//! Shops: their name and staff, their customers by last activity, and the room of each pair.
//!
//! A customer is whoever's room was opened as the customer's side; the staff, which speaks as the shop, is never
//! one, so that lists show customers only. A shop has so many customers (`chat.customers`); beyond that the one who was
//! silent for longest makes room, with the record of its room.
//!
//! Rows in the table of shops: `shop ID` (name, picture, staff), `customer SHOP ID` (since when silent), `recent SHOP TIME ID`
//! (their order), `room ROOM` (whose it is).

use serde::Deserialize;
use serde::Serialize;

use crate::chat::Error;
use crate::chat::ledger::Desk;
use crate::chat::room_of;
use crate::config;
use crate::store::Direction;
use crate::store::Key;
use crate::store::Limit;
use crate::store::Parts;
use crate::store::Span;
use crate::store::Table;

/// The most bytes that a list of customers reads.
const LIST_BYTES: usize = 1024 * 1024;

/// So many of the most silent customers are looked at to make room for one.
const SILENT_LOOK: usize = 64;

/// So many customers are let go at once.
const CLEAN_MAX: usize = 1_000;

/// Times closer together than this are one activity: so much less is written.
const ACTIVITY_MS: u64 = 1_000;

/// A shop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shop {
    /// Its id; as a user it is the staff that speaks.
    pub id: String,
    /// Its name, for customers.
    pub name: String,
    /// The address of its picture.
    pub face: String,
    /// The users who may act for it.
    #[serde(default)]
    pub staff: Vec<String>,
}

impl From<&config::Shop> for Shop {
    fn from(shop: &config::Shop) -> Self {
        Self {
            id: shop.id.clone(),
            name: shop.name.clone(),
            face: shop.face.clone(),
            staff: shop.staff.clone(),
        }
    }
}

/// A customer of a shop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customer {
    /// The user.
    pub id: String,
    /// The last activity, in Unix milliseconds.
    pub unix_ms: u64,
}

/// Whose a room is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pair {
    #[serde(rename = "s")]
    pub(super) shop: String,
    #[serde(rename = "c")]
    pub(super) customer: String,
    #[serde(rename = "t")]
    unix_ms: u64,
}

/// A shop that was opened, as it is kept.
#[derive(Serialize, Deserialize)]
struct Opened {
    #[serde(flatten)]
    shop: Shop,
    #[serde(rename = "t")]
    unix_ms: u64,
}

/// A customer as it is kept.
#[derive(Serialize, Deserialize)]
struct Activity {
    #[serde(rename = "t")]
    unix_ms: u64,
}

/// How many customers a shop has, as it is kept.
#[derive(Default, Serialize, Deserialize)]
struct Count {
    #[serde(rename = "n")]
    customers: usize,
}

// === shops and rooms ===

/// Keeps a shop.
pub(super) fn put(desk: &mut Desk<'_>, shop: &Shop, unix_ms: u64) -> Result<(), Error> {
    if of(desk, &shop.id)?.as_ref() != Some(shop) {
        desk.put(Table::Shops, shop_key(&shop.id), &Opened { shop: shop.clone(), unix_ms });
    }
    Ok(())
}

/// A shop that was opened.
pub(super) fn of(desk: &mut Desk<'_>, id: &str) -> Result<Option<Shop>, Error> {
    Ok(desk.value::<Opened>(Table::Shops, shop_key(id))?.map(|opened| opened.shop))
}

/// Has a room be that of a shop and a customer.
pub(super) fn open_room(
    desk: &mut Desk<'_>,
    shop: &str,
    customer: &str,
    unix_ms: u64,
) -> Result<String, Error> {
    let room = room_of(shop, customer);
    match pair(desk, &room)? {
        Some(pair) if pair.shop == shop && pair.customer == customer => {}
        Some(Pair { shop, customer, .. }) => return Err(Error::RoomTaken { room, shop, customer }),
        None => {
            let pair = Pair { shop: shop.to_owned(), customer: customer.to_owned(), unix_ms };
            desk.put(Table::Shops, room_key(&room), &pair);
        }
    }
    Ok(room)
}

/// Whose a room is.
pub(super) fn pair(desk: &mut Desk<'_>, room: &str) -> Result<Option<Pair>, Error> {
    desk.value(Table::Shops, room_key(room))
}

// === customers ===

/// Brings a customer up in the list of its shop; gives how many others had to make room.
pub(super) fn touch(desk: &mut Desk<'_>, pair: &Pair, unix_ms: u64, most: usize) -> Result<usize, Error> {
    let Pair { shop, customer, .. } = pair;
    let former = desk.value::<Activity>(Table::Shops, customer_key(shop, customer))?;
    match &former {
        // A clock that went back changes nothing.
        Some(former) if unix_ms < former.unix_ms.saturating_add(ACTIVITY_MS) => return Ok(0),
        Some(former) => desk.delete(Table::Shops, recent_key(shop, former.unix_ms, customer)),
        None => change_count(desk, shop, |count| count + 1)?,
    }
    desk.put(Table::Shops, customer_key(shop, customer), &Activity { unix_ms });
    desk.put(Table::Shops, recent_key(shop, unix_ms, customer), &());
    make_room(desk, shop, most, former.is_none())
}

/// Lets the most silent customers go while there are too many.
fn make_room(desk: &mut Desk<'_>, shop: &str, most: usize, is_new: bool) -> Result<usize, Error> {
    if !is_new {
        return Ok(0);
    }
    let surplus = count(desk, shop)?.saturating_sub(most).min(SILENT_LOOK / 2);
    if surplus == 0 {
        return Ok(0);
    }
    let mut gone = 0;
    let span = Span::prefix(Key::new().text("recent").text(shop));
    for (customer, unix_ms) in listed(desk, &span, Direction::Up, SILENT_LOOK)?.0 {
        if gone < surplus && remove(desk, shop, &customer, unix_ms)? {
            gone += 1;
        }
    }
    Ok(gone)
}

/// Lets a customer go who was last active then; false when it was active since.
fn remove(desk: &mut Desk<'_>, shop: &str, customer: &str, unix_ms: u64) -> Result<bool, Error> {
    let kept = desk.value::<Activity>(Table::Shops, customer_key(shop, customer))?;
    if kept.is_none_or(|kept| kept.unix_ms != unix_ms) {
        return Ok(false);
    }
    desk.delete(Table::Shops, customer_key(shop, customer));
    desk.delete(Table::Shops, recent_key(shop, unix_ms, customer));
    let room = room_of(shop, customer);
    if pair(desk, &room)?.is_some_and(|pair| pair.shop == shop && pair.customer == customer) {
        desk.delete(Table::Shops, room_key(&room));
    }
    change_count(desk, shop, |count| count.saturating_sub(1))?;
    Ok(true)
}

/// The customers of a shop, the last active first.
pub(super) fn customers(desk: &mut Desk<'_>, shop: &str, most: usize) -> Result<Vec<Customer>, Error> {
    let span = Span::prefix(Key::new().text("recent").text(shop));
    let (listed, _) = listed(desk, &span, Direction::Down, most)?;
    Ok(listed.into_iter().map(|(id, unix_ms)| Customer { id, unix_ms }).collect())
}

/// Lets go of customers who were silent since before `oldest`, in all shops; gives how many, and whether there may be
/// more.
pub(super) fn clean(desk: &mut Desk<'_>, oldest: u64) -> Result<(usize, bool), Error> {
    let limit = Limit { items: CLEAN_MAX, bytes: LIST_BYTES };
    let (mut gone, mut more) = (0, false);
    // Shop by shop: the key behind the last one of a shop leads to the next shop.
    let mut from = Key::new().text("recent").into_bytes();
    let end = Key::new().text("recent").into_bytes();
    for _ in 0..CLEAN_MAX {
        let page = desk.store().range(
            Table::Shops,
            &Span::from(&from),
            Direction::Up,
            Limit { items: 1, ..limit },
        )?;
        let Some((key, _)) = page.entries.first().filter(|(key, _)| key.starts_with(&end)) else {
            return Ok((gone, more));
        };
        let Some((shop, ..)) = recent(key) else { return Ok((gone, more)) };
        let of_shop = Key::new().text("recent").text(&shop);
        let span = Span::between(of_shop.clone(), of_shop.clone().number(oldest));
        let (silent, has_more) = listed(desk, &span, Direction::Up, CLEAN_MAX - gone)?;
        more |= has_more;
        for (customer, unix_ms) in silent {
            gone += usize::from(remove(desk, &shop, &customer, unix_ms)?);
        }
        if gone >= CLEAN_MAX {
            return Ok((gone, true));
        }
        from = of_shop.number(u64::MAX).number(u64::MAX).into_bytes();
    }
    Ok((gone, true))
}

fn listed(
    desk: &Desk<'_>,
    span: &Span,
    direction: Direction,
    most: usize,
) -> Result<(Vec<(String, u64)>, bool), Error> {
    if most == 0 {
        return Ok((Vec::new(), true));
    }
    let limit = Limit { items: most, bytes: LIST_BYTES };
    let page = desk.store().range(Table::Shops, span, direction, limit)?;
    let entry = |(key, _): &(Vec<u8>, Vec<u8>)| recent(key).map(|(_, unix_ms, id)| (id, unix_ms));
    Ok((page.entries.iter().filter_map(entry).collect(), page.more))
}

/// Shop, time and customer of an entry in the order of customers.
fn recent(key: &[u8]) -> Option<(String, u64, String)> {
    let mut parts = Parts::new(key);
    parts.text()?;
    Some((parts.text()?, parts.number()?, parts.text()?))
}

/// Takes a row away that stands for nothing any more, older than `oldest`: a customer who was silent since, a room whose
/// customer is not in the list, a shop without customers; true when it was a customer.
pub(super) fn sweep(desk: &mut Desk<'_>, (key, value): (&[u8], &[u8]), oldest: u64) -> Result<bool, Error> {
    let mut parts = Parts::new(key);
    match parts.text().as_deref() {
        Some("customer") => {
            let (Some(shop), Some(customer)) = (parts.text(), parts.text()) else { return Ok(false) };
            let kept = serde_json::from_slice::<Activity>(value);
            match kept.ok().filter(|kept| kept.unix_ms < oldest) {
                Some(kept) => return remove(desk, &shop, &customer, kept.unix_ms),
                None => return Ok(false),
            }
        }
        Some("shop") => {
            let opened = serde_json::from_slice::<Opened>(value).ok();
            let opened = opened.filter(|opened| opened.unix_ms < oldest);
            if let Some(opened) = opened
                && count(desk, &opened.shop.id)? == 0
            {
                desk.delete(Table::Shops, key);
            }
        }
        Some("room") => {
            let pair = serde_json::from_slice::<Pair>(value).ok().filter(|pair| pair.unix_ms < oldest);
            if let Some(pair) = pair
                && activity(desk, &pair)?.is_none()
            {
                desk.delete(Table::Shops, key);
            }
        }
        _ => {}
    }
    Ok(false)
}

/// When the customer of a room was last active, in Unix milliseconds; none when it is not in the list of its shop.
pub(super) fn activity(desk: &mut Desk<'_>, pair: &Pair) -> Result<Option<u64>, Error> {
    let kept = desk.value::<Activity>(Table::Shops, customer_key(&pair.shop, &pair.customer))?;
    Ok(kept.map(|kept| kept.unix_ms))
}

fn count(desk: &Desk<'_>, shop: &str) -> Result<usize, Error> {
    let count = desk.value::<Count>(Table::Shops, count_key(shop))?;
    Ok(count.unwrap_or_default().customers)
}

fn change_count(desk: &mut Desk<'_>, shop: &str, change: impl Fn(usize) -> usize) -> Result<(), Error> {
    let customers = change(count(desk, shop)?);
    if customers == 0 {
        desk.delete(Table::Shops, count_key(shop));
    } else {
        desk.put(Table::Shops, count_key(shop), &Count { customers });
    }
    Ok(())
}

fn shop_key(shop: &str) -> Key {
    Key::new().text("shop").text(shop)
}

fn room_key(room: &str) -> Key {
    Key::new().text("room").text(room)
}

fn customer_key(shop: &str, customer: &str) -> Key {
    Key::new().text("customer").text(shop).text(customer)
}

fn recent_key(shop: &str, unix_ms: u64, customer: &str) -> Key {
    Key::new().text("recent").text(shop).number(unix_ms).text(customer)
}

fn count_key(shop: &str) -> Key {
    Key::new().text("count").text(shop)
}
