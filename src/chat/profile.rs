//! Who somebody is in a room: what the chat page says when it logs in.

use serde::Deserialize;
use serde::Serialize;

use crate::chat::Error;
use crate::chat::ledger::Desk;
use crate::store::Key;
use crate::store::Table;
use crate::wire::golang_im;
use crate::wire::orim;

/// The most bytes of one text of a profile; more are cut off.
const TEXT_MAX: usize = 512;

/// Who somebody is in a room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The user.
    #[serde(rename = "mid")]
    pub user: String,
    /// The room.
    #[serde(rename = "room_id")]
    pub room: String,
    /// The user's name.
    pub nickname: String,
    /// The address of its picture.
    pub face: String,
    /// The other side: for a customer, the shop.
    pub shop_id: String,
    /// Its name.
    pub shop_name: String,
    /// The address of its picture.
    pub shop_face: String,
    /// What the client runs on.
    pub platform: String,
}

/// A profile as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(rename = "p")]
    profile: Profile,
    #[serde(rename = "t")]
    unix_ms: u64,
}

impl Profile {
    /// The profile that a login of the chat page shows.
    #[must_use]
    pub fn of(auth: &orim::Auth) -> Self {
        Self {
            user: auth.user.clone(),
            room: auth.room.clone(),
            nickname: auth.nickname.clone(),
            face: auth.face.clone(),
            shop_id: auth.shop_id.clone(),
            shop_name: auth.shop_name.clone(),
            shop_face: auth.shop_face.clone(),
            platform: auth.platform.clone(),
        }
    }

    /// The profile that a login of golang-im shows.
    #[must_use]
    pub fn of_golang_im(auth: &golang_im::Auth) -> Self {
        Self {
            user: auth.user.clone(),
            room: auth.room.as_deref().map(orim::room).unwrap_or_default(),
            nickname: auth.nickname.clone(),
            face: auth.face.clone(),
            shop_id: auth.shop_id.clone(),
            shop_name: auth.shop_name.clone(),
            shop_face: auth.shop_face.clone(),
            platform: auth.platform.clone(),
        }
    }

    /// The profile as the page sent it, without its key.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("texts can be written")
    }

    fn bounded(&self) -> Self {
        let cut = |text: &str| {
            let end =
                text.char_indices().map(|(index, c)| index + c.len_utf8()).take_while(|end| *end <= TEXT_MAX);
            text.split_at(end.last().unwrap_or(0)).0.to_owned()
        };
        Self {
            user: self.user.clone(),
            room: self.room.clone(),
            nickname: cut(&self.nickname),
            face: cut(&self.face),
            shop_id: cut(&self.shop_id),
            shop_name: cut(&self.shop_name),
            shop_face: cut(&self.shop_face),
            platform: cut(&self.platform),
        }
    }
}

/// Keeps a profile.
pub(super) fn put(desk: &mut Desk<'_>, profile: &Profile, unix_ms: u64) {
    let kept = Kept { profile: profile.bounded(), unix_ms };
    desk.put(Table::Users, key(&profile.user, &profile.room), &kept);
}

/// The profile of a user in a room.
pub(super) fn of(desk: &mut Desk<'_>, user: &str, room: &str) -> Result<Option<Profile>, Error> {
    let kept = desk.value::<Kept>(Table::Users, key(user, room))?;
    Ok(kept.map(|kept| kept.profile))
}

/// When the profile with this value was last kept, in Unix milliseconds.
pub(super) fn time(value: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Kept>(value).ok().map(|kept| kept.unix_ms)
}

fn key(user: &str, room: &str) -> Key {
    Key::new().text(user).text(room)
}
