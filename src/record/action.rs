//! What can happen: the vocabulary of the field `action`.

macro_rules! actions {
    ($($id:ident $name:literal $doc:literal;)*) => {
        /// What can happen: the values of the field `action`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action {
            $(#[doc = $doc] $id,)*
        }

        impl Action {
            /// Every action that the program can write.
            pub const ALL: &[Self] = &[$(Self::$id),*];

            /// The word in the record.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$id => $name,)*
                }
            }
        }
    };
}

actions! {
    Login "login" "A user logged in, or was refused.";
    Logout "logout" "A session ended.";
    RoomMsg "room_msg" "A message was published into a room.";
    RoomManage "room_manage" "A session joined or left a room, or the room was dissolved.";
    MemoryMsg "memory_msg" "A session's queue in memory was full.";
    WebErr "web_err" "A request or frame broke the rules.";
    MsgSend "msg_send" "A message was sent late, or could not be sent.";
    Wsconn "wsconn" "A client could not open a websocket.";
    LogGap "log_gap" "Records were lost: how many, and why.";
    NginxAccess "nginx_access" "A line of nginx's access log.";
    NginxError "nginx_error" "A line of nginx's error log.";
    Syslog "syslog" "A syslog line from elsewhere.";
    Line "line" "A line of JSON or text from elsewhere, without a syslog header.";
    ConfigReload "config_reload" "The configuration was read again.";
    Drain "drain" "The daemon is stopping.";
    Diagnostic "diagnostic" "What the program says of itself.";
}

impl Action {
    /// The action with this word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.as_str() == word)
    }
}
