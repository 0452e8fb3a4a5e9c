//! What backends and operators ask of the gateway: publish, ask, subscribe, end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock;
use crate::config::Namespace;
use crate::config::Slow;
use crate::gateway::CloseReason;
use crate::gateway::Gateway;
use crate::gateway::bans::Ban;
use crate::gateway::bans::BanError;
use crate::gateway::chat::unix_ms;
use crate::gateway::form::Encoded;
use crate::gateway::frame::Frame;
use crate::gateway::frame::Origin;
use crate::gateway::link::Link;
use crate::gateway::link::Sent;
use crate::gateway::order::Order;
use crate::gateway::registry::Online;
use crate::gateway::room::publication::Outgoing;
use crate::gateway::room::receipt::Counts;
use crate::gateway::room::step::Asker;
use crate::gateway::room::step::HistoryPage;
use crate::gateway::room::step::Present;
use crate::gateway::room::step::Published;
use crate::gateway::room::step::Question;
use crate::gateway::room::step::RoomError;
use crate::gateway::room::step::Step;
use crate::gateway::room::step::Told;
use crate::gateway::room::stream::Position;
use crate::gateway::room::stream::Query;
use crate::gateway::session::Pass;
use crate::ids::Epoch;
use crate::ids::SessionId;
use crate::wire::centrifuge::Unsubscribed;
use crate::wire::payload::Payload;

/// Whom something is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// All sessions of a user.
    pub user: Option<String>,
    /// This session only, or among the user's; by its id or its device key.
    pub session: Option<String>,
    /// Not these sessions.
    pub except: Vec<String>,
}

/// How a session is put into a room.
#[derive(Clone, Debug, Default)]
pub struct Stay {
    /// It catches up from here.
    pub since: Option<Position>,
    /// What others there learn about it.
    pub info: Option<Payload>,
    /// What it is told with the news.
    pub data: Option<Payload>,
    /// When it must leave, in Unix seconds.
    pub expires: Option<u64>,
    /// True when it does not show among those who are there.
    pub hidden: bool,
}

impl Target {
    /// All sessions of a user.
    #[must_use]
    pub fn user(user: &str) -> Self {
        Self { user: Some(user.to_owned()), ..Self::default() }
    }

    /// One session.
    #[must_use]
    pub fn session(session: &str) -> Self {
        Self { session: Some(session.to_owned()), ..Self::default() }
    }
}

impl Gateway {
    /// Publishes into a room; answers when it is delivered, and kept where the room is durable.
    ///
    /// # Errors
    ///
    /// [`RoomError`]; the message was not published, except with [`RoomError::Store`].
    pub async fn publish(&self, room: &str, message: Outgoing) -> Result<Published, RoomError> {
        let (asker, answer) = oneshot::channel();
        self.shared.publish(room, message, None, Asker::Caller(asker)).map_err(|_| RoomError::Busy)?;
        match answer.await {
            Ok(Ok(Told::Published(published))) => Ok(published),
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) | Err(_) => Err(RoomError::Stopping),
        }
    }

    /// Publishes into a room and waits, `patience` at the longest, until everybody's socket has taken it and `wanted`
    /// users have acknowledged it.
    ///
    /// # Errors
    ///
    /// As [`Self::publish`].
    pub async fn publish_with_receipt(
        &self,
        room: &str,
        message: Outgoing,
        wanted: Option<usize>,
        patience: Duration,
    ) -> Result<(Published, Counts), RoomError> {
        let (asker, answer) = oneshot::channel();
        let receipts = &self.shared.receipts;
        let receipt = receipts.open(room, wanted).ok_or(RoomError::Busy)?;
        let noted = Some(Arc::clone(&receipt));
        let submitted = self.shared.publish(room, message, noted, Asker::Caller(asker));
        let outcome = match submitted.map(|_| answer) {
            Err(_) => Err(RoomError::Busy),
            Ok(answer) => match answer.await {
                // What was published before has its own receipt, or had.
                Ok(Ok(Told::Published(published))) if published.duplicate => {
                    Ok((published, Counts::default()))
                }
                Ok(Ok(Told::Published(published))) => Ok((published, receipt.wait(patience).await)),
                Ok(Err(error)) => Err(error),
                Ok(Ok(_)) | Err(_) => Err(RoomError::Stopping),
            },
        };
        receipts.close(room, &receipt);
        outcome
    }

    /// A page of what was said in a room; with `epoch`, only of the stream with that name.
    ///
    /// # Errors
    ///
    /// [`RoomError`] when the room keeps nothing, or the page begins in another stream.
    pub async fn history(
        &self,
        room: &str,
        query: Query,
        epoch: Option<Epoch>,
    ) -> Result<HistoryPage, RoomError> {
        match self.ask(room, Question::History { query, epoch }).await? {
            Told::History(page) => Ok(page),
            _ => Err(RoomError::Stopping),
        }
    }

    /// Forgets what was said in a room.
    ///
    /// # Errors
    ///
    /// [`RoomError`] when the room keeps nothing.
    pub async fn history_remove(&self, room: &str) -> Result<(), RoomError> {
        self.ask(room, Question::Clear).await.map(drop)
    }

    /// Who is in a room.
    ///
    /// # Errors
    ///
    /// [`RoomError`] when the room does not tell.
    pub async fn presence(&self, room: &str) -> Result<Vec<Present>, RoomError> {
        match self.ask(room, Question::Presence).await? {
            Told::Presence(present) => Ok(present),
            _ => Err(RoomError::Stopping),
        }
    }

    /// How many sessions and users are in a room.
    ///
    /// # Errors
    ///
    /// [`RoomError`] when the room does not tell.
    pub async fn presence_stats(&self, room: &str) -> Result<(usize, usize), RoomError> {
        match self.ask(room, Question::PresenceStats).await? {
            Told::PresenceStats { clients, users } => Ok((clients, users)),
            _ => Err(RoomError::Stopping),
        }
    }

    /// Ends a room: everybody leaves, after `notice`, and what was said is forgotten.
    ///
    /// # Errors
    ///
    /// [`RoomError::Busy`] when the room has too much to do.
    pub fn dissolve(&self, room: &str, notice: Option<Outgoing>, why: &str) -> Result<(), RoomError> {
        let notice = notice.map(|notice| Box::new(self.shared.publishing(notice, None, Asker::Nobody).1));
        self.shared.submit(room, Step::Dissolve(notice, why.into()), true).map_err(|_| RoomError::Busy)
    }

    /// The rooms with somebody in them whose name is `wanted`, and how many sessions are in each.
    pub fn rooms(&self, wanted: impl Fn(&str) -> bool) -> Vec<(Arc<str>, usize)> {
        self.shared.rooms.list(wanted)
    }

    /// How many sessions are in a room.
    #[must_use]
    pub fn room_count(&self, room: &str) -> usize {
        self.shared.rooms.members(room)
    }

    /// How many sessions, users and addresses there are.
    #[must_use]
    pub fn online(&self) -> Online {
        self.shared.registry.online()
    }

    /// True when the user has a session.
    #[must_use]
    pub fn is_online(&self, user: &str) -> bool {
        self.shared.registry.is_online(user)
    }

    /// Has sessions be in a room; gives how many were asked.
    pub fn subscribe(&self, target: &Target, room: &str, stay: &Stay) -> usize {
        let Stay { since, info, data, expires, hidden } = stay.clone();
        let pass = Pass { info: info.map(Arc::new), data: data.map(Arc::new), ttl: None, hidden };
        self.order(target, || Order::Subscribe { room: room.to_owned(), since, pass: pass.clone(), expires })
    }

    /// Has sessions leave a room; gives how many were asked.
    pub fn unsubscribe(&self, target: &Target, room: &str) -> usize {
        let reason: Arc<str> = Unsubscribed::Server.words().into();
        let code = Unsubscribed::Server.code();
        self.order(target, || Order::Unsubscribe { room: room.to_owned(), code, reason: Arc::clone(&reason) })
    }

    /// Ends sessions; gives how many.
    pub fn disconnect(&self, target: &Target, code: Option<u16>, reason: &str) -> usize {
        let reason: Arc<str> = reason.into();
        let links = self.links(target);
        for link in &links {
            link.close(CloseReason::Kicked { code, reason: Arc::clone(&reason) });
        }
        links.len()
    }

    /// Lets logins expire at another time, in Unix seconds; never without one. Gives how many were asked.
    pub fn refresh(&self, target: &Target, at: Option<u64>) -> usize {
        self.order(target, || Order::Expire { at })
    }

    /// Sends a message to all sessions of a user that take its operation; gives how many.
    pub fn send_to_user(&self, user: &str, message: &Outgoing) -> usize {
        self.send(&self.shared.registry.user(user), message)
    }

    /// Sends a message to a session, by its id or device key; false when it is not here or does not take it.
    pub fn send_to_session(&self, session: &str, message: &Outgoing) -> bool {
        let link = self.link(session);
        link.is_some_and(|link| self.send(&[link], message) > 0)
    }

    /// Sends a message to all sessions that take its operation, `speed` of them in a second, or all at once; gives how
    /// many.
    pub async fn send_to_all(&self, message: &Outgoing, speed: Option<usize>) -> usize {
        let links = self.shared.registry.all();
        let (size, pause) = match speed {
            // A tenth of a second's share, ten times a second.
            Some(speed) => (speed.div_ceil(10).max(1), Duration::from_millis(100)),
            None => (links.len().max(1), Duration::ZERO),
        };
        let mut sent = 0;
        for (index, some) in links.chunks(size).enumerate() {
            if index > 0 {
                tokio::time::sleep(pause).await;
            }
            sent += self.send(some, message);
        }
        sent
    }

    /// Is this a name for a room?
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check_room(&self, room: &str) -> Result<(), String> {
        self.shared.settings.load().rules.check_name(room).map_err(|denied| denied.to_string())
    }

    /// Puts other rules of rooms in force at once.
    pub fn set_namespaces(&self, namespaces: &[Namespace]) {
        self.shared.settings.rcu(|settings| settings.with_namespaces(namespaces));
    }

    /// Sends a message to all sessions of a user; where there is none and `offline`, it waits for the login. Gives how many
    /// sessions it was sent to, and whether it waits.
    ///
    /// # Errors
    ///
    /// [`RoomError::Store`] when it can not be kept.
    pub async fn send_or_keep(
        &self,
        user: &str,
        message: &Outgoing,
        offline: bool,
    ) -> Result<(usize, bool), RoomError> {
        let sent = self.send_to_user(user, message);
        if sent > 0 || !offline {
            return Ok((sent, false));
        }
        let (limits, unix_ms) = {
            let settings = self.shared.settings.load();
            ((settings.inbox_size, settings.inbox_ttl), unix_ms())
        };
        let id = self.shared.message_ids.next(unix_ms);
        let kept = self.shared.inbox.keep(user, (id, unix_ms), message, limits).await;
        kept.map_err(|error| RoomError::Store(error.to_string()))?;
        // A session that logged in meanwhile has looked too early.
        for link in self.shared.registry.user(user) {
            self.shared.empty_inbox(&link);
        }
        Ok((0, true))
    }

    /// Keeps a user out, and ends its sessions; gives how many.
    ///
    /// # Errors
    ///
    /// [`BanError`]; then nothing has changed, except that the ban counts until the next start when only the store failed.
    pub async fn ban(&self, user: &str, ban: Ban) -> Result<usize, BanError> {
        let reason = ban.reason.clone();
        self.shared.bans.add(user, ban, clock::wall().as_secs()).await?;
        let links = self.shared.registry.user(user);
        for link in &links {
            link.close(CloseReason::Banned { reason: reason.clone() });
        }
        Ok(links.len())
    }

    /// Lets a user in again; false when nothing kept it out.
    ///
    /// # Errors
    ///
    /// [`BanError`] when the store failed: the ban is back at the next start.
    pub async fn unban(&self, user: &str) -> Result<bool, BanError> {
        self.shared.bans.remove(user).await
    }

    /// Who is kept out, by user.
    #[must_use]
    pub fn bans(&self) -> Vec<(String, Ban)> {
        self.shared.bans.all(clock::wall().as_secs())
    }

    async fn ask(&self, room: &str, question: Question) -> Result<Told, RoomError> {
        let (asker, answer) = oneshot::channel();
        let step = Step::Ask(question, Asker::Caller(asker));
        self.shared.submit(room, step, true).map_err(|_| RoomError::Busy)?;
        answer.await.unwrap_or(Err(RoomError::Stopping))
    }

    fn order(&self, target: &Target, order: impl Fn() -> Order) -> usize {
        self.links(target).iter().filter(|link| link.order(order())).count()
    }

    /// The sessions that are meant.
    fn links(&self, target: &Target) -> Vec<Arc<Link>> {
        let mut links = match (&target.user, &target.session) {
            (Some(user), _) => self.shared.registry.user(user),
            (None, Some(session)) => self.link(session).into_iter().collect(),
            (None, None) => Vec::new(),
        };
        let is = |link: &Arc<Link>, session: &str| {
            link.card().is_some_and(|card| card.session.as_str() == session)
        };
        if let (Some(_), Some(session)) = (&target.user, &target.session) {
            links.retain(|link| is(link, session));
        }
        links.retain(|link| !target.except.iter().any(|session| is(link, session)));
        links
    }

    fn link(&self, session: &str) -> Option<Arc<Link>> {
        let by_id = SessionId::parse(session).and_then(|id| self.shared.registry.number(id.number()));
        let by_id = by_id.filter(|link| link.card().is_some_and(|card| card.session.as_str() == session));
        by_id.or_else(|| self.shared.registry.key(session))
    }

    /// Sends a message to each of these sessions that takes its operation; gives how many.
    fn send(&self, links: &[Arc<Link>], message: &Outgoing) -> usize {
        let now = clock::uptime();
        let origin = Arc::new(Origin {
            room: "".into(),
            at: now,
            messages: 1,
            slow: Slow::Disconnect,
            key: None,
            expires: message.ttl.map(|ttl| now.saturating_add(ttl)),
            receipt: None,
        });
        let mut encoded = Encoded::default();
        let mut sent = 0;
        for link in links {
            let takes = message.operation.is_none_or(|operation| link.accepts(operation));
            if link.card().is_none() || !takes {
                continue;
            }
            let form = link.form();
            let frames = encoded.frames(form, || {
                vec![Frame { bytes: form.message(message), origin: Some(Arc::clone(&origin)) }]
            });
            let outcome = link.send(frames, clock::uptime(), &mut self.shared.observer());
            sent += usize::from(matches!(outcome, Sent::Accepted { lost: 0 }));
            self.shared.count(outcome);
        }
        sent
    }
}
