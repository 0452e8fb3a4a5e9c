//! What is said in a room: taken in, handed to the store, sent to all members, answered.

use crate::clock;
use crate::gateway::form::Encoded;
use crate::gateway::form::Said;
use crate::gateway::frame::Frame;
use crate::gateway::frame::Origin;
use crate::gateway::link::Link;
use crate::gateway::room::publication::Publication;
use crate::gateway::room::receipt::ID_TAG;
use crate::gateway::room::step::Asker;
use crate::gateway::room::step::Published;
use crate::gateway::room::step::Publishing;
use crate::gateway::room::step::RoomError;
use crate::gateway::room::step::Told;
use crate::gateway::room::stream::Position;
use crate::gateway::room::worker::Worker;
use crate::tasks::OnExit;
use std::sync::Arc;

impl Worker<'_> {
    pub(super) fn take_in(&mut self, publishing: Publishing) {
        let Publishing { mut message, id, at, unix_ms, receipt, asker } = publishing;
        let keeps = self.rules.keeps() && !message.skip_history;
        if let Some(key) = &message.idempotency_key
            && let Some(offset) = self.stream().seen(key)
        {
            let position = self.rules.keeps().then(|| Position { offset, ..self.stream().position() });
            self.answers.push((asker, Published { id, position, duplicate: true }));
            return;
        }
        // An id that was overtaken on its way here is replaced: in a room ids are in the order of the stream.
        let newest = if keeps { self.stream().newest() } else { None };
        let id = newest.filter(|newest| *newest >= id).map_or(id, |newest| self.shared.id_behind(newest));
        if receipt.is_some() {
            message.tags.insert(ID_TAG.to_owned(), id.to_string());
        }
        let key = message.conflation_key.clone();
        let expires = message.ttl.map(|ttl| at.saturating_add(ttl));
        let publication = Publication::of(message, id, (self.room, unix_ms));
        let needs_stream = keeps || publication.idempotency_key.is_some();
        let publication =
            if needs_stream { self.stream().append(publication, keeps) } else { Arc::new(publication) };
        if let Some(receipt) = &receipt {
            receipt.is_for(id, publication.offset);
        }
        let position = self.rules.keeps().then(|| self.stream().position());
        self.answers.push((asker, Published { id, position, duplicate: false }));
        let origin = Origin {
            room: Arc::clone(self.room),
            at,
            messages: 1,
            slow: self.rules.slow,
            key,
            expires,
            receipt,
        };
        self.run.push(Said { publication, origin });
    }

    /// Sends what was taken in to all members, and answers the publishers.
    pub(super) fn deliver(&mut self) {
        let run = std::mem::take(&mut self.run);
        let answers = std::mem::take(&mut self.answers);
        if run.is_empty() {
            answer(answers);
            return;
        }
        let ticket = match self.keep(&run) {
            Ok(ticket) => ticket,
            Err(error) => {
                refuse(answers, &error);
                return;
            }
        };
        let mut encoded = Encoded::default();
        let receipts: Vec<_> = run.iter().filter_map(|said| said.origin.receipt.clone()).collect();
        let grouped = crate::gateway::form::grouped(run);
        let epoch = self.inside.stream.as_ref().map(|stream| stream.position().epoch);
        for member in self.inside.members.values() {
            let form = member.link.form();
            let frames = encoded.frames(form, || form.run(self.room, epoch, &grouped));
            receipts.iter().for_each(|receipt| receipt.queued());
            self.hand_over(&member.link, frames);
        }
        receipts.iter().for_each(|receipt| receipt.complete());
        match ticket {
            None => answer(answers),
            Some(ticket) => self.shared.means.tasks.spawn("kept", OnExit::Ignore, async move {
                match ticket.await {
                    Ok(()) => answer(answers),
                    Err(error) => refuse(answers, &RoomError::Store(error.to_string())),
                }
            }),
        }
    }

    /// Hands what a durable room keeps to the store; when that refuses, it was never said.
    fn keep(&mut self, run: &[Said]) -> Result<Option<crate::store::Ticket>, RoomError> {
        let Some(archive) = self.archive() else { return Ok(None) };
        let kept: Vec<_> =
            run.iter().map(|said| &said.publication).filter(|publication| publication.offset > 0).collect();
        if kept.is_empty() {
            return Ok(None);
        }
        let position = self.stream().position();
        match archive.append(self.room, position, &kept, self.rules.keeping.size) {
            Ok(ticket) => Ok(Some(ticket)),
            Err(error) => {
                self.stream().retract(kept.len());
                Err(if error.retryable() { RoomError::Busy } else { RoomError::Store(error.to_string()) })
            }
        }
    }

    fn hand_over(&self, link: &Link, frames: &[Frame]) {
        let sent = link.send(frames, clock::uptime(), &mut self.shared.observer());
        self.shared.count(sent);
    }
}

fn answer(answers: Vec<(Asker, Published)>) {
    for (asker, published) in answers {
        asker.tell(Ok(Told::Published(published)));
    }
}

fn refuse(answers: Vec<(Asker, Published)>, error: &RoomError) {
    answers.into_iter().for_each(|(asker, _)| asker.tell(Err(error.clone())));
}
