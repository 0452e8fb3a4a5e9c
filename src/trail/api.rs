//! What backends do through the server APIs.

use crate::record;
use crate::record::Action;
use crate::record::Level;
use crate::trail::Subject;
use crate::trail::Trail;

impl Trail {
    /// A backend sent a message to a user, a session, or all.
    pub fn api_sent(&self, subject: &Subject<'_>, message: &str, desc: &str) {
        self.act(Action::MsgSend, Level::Info, subject, |line, _| {
            line.text(record::MSG_ID, message);
            line.text(record::DESC, desc);
        });
    }

    /// A backend ordered sessions about, or changed a room.
    pub fn api_managed(&self, subject: &Subject<'_>, room: Option<&str>, desc: &str) {
        self.act(Action::RoomManage, Level::Info, subject, |line, _| {
            line.maybe(record::ROOM_ID, room);
            line.text(record::DESC, desc);
        });
    }
}
