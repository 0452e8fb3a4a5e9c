//! What is asked of a room: what was said, who is there, and to forget or to take back.

use crate::gateway::room::recall::Recall;
use crate::gateway::room::rooms::Member;
use crate::gateway::room::step::Asker;
use crate::gateway::room::step::HistoryPage;
use crate::gateway::room::step::Present;
use crate::gateway::room::step::Question;
use crate::gateway::room::step::RoomError;
use crate::gateway::room::step::Told;
use crate::gateway::room::stream::Query;
use crate::gateway::room::worker::Worker;
use crate::ids::Epoch;
use std::collections::HashSet;
use std::sync::Arc;

impl Worker<'_> {
    pub(super) fn recall(&mut self, recall: &Recall, asker: Asker) {
        let recalled =
            crate::gateway::room::recall::recall(recall, (self.archive(), self.room), self.stream());
        crate::gateway::room::recall::answer(recalled, asker, &self.shared.means.tasks);
    }

    pub(super) fn answer(&mut self, question: &Question) -> Result<Told, RoomError> {
        match question {
            Question::History { query, epoch } => self.history(*query, *epoch).map(Told::History),
            Question::Presence if !self.rules.presence => Err(RoomError::NoPresence),
            Question::PresenceStats if !self.rules.presence => Err(RoomError::NoPresence),
            Question::Presence => Ok(Told::Presence(self.present())),
            Question::PresenceStats => {
                let shown = self.inside.members.values().filter(|member| !member.hidden);
                let cards: Vec<_> = shown.filter_map(|member| member.link.card()).collect();
                let users: HashSet<&str> = cards.iter().map(|card| &*card.user).collect();
                Ok(Told::PresenceStats { clients: cards.len(), users: users.len() })
            }
            Question::Recall(_) => Err(RoomError::NoHistory),
            Question::Clear if !self.rules.keeps() => Err(RoomError::NoHistory),
            Question::Clear => {
                self.clear();
                Ok(Told::Cleared)
            }
        }
    }

    fn present(&self) -> Vec<Present> {
        let present = |member: &Member| {
            if member.hidden {
                return None;
            }
            let card = Arc::clone(member.link.card()?);
            Some(Present { card, info: member.info.clone() })
        };
        self.inside.members.values().filter_map(present).collect()
    }

    fn history(&mut self, query: Query, epoch: Option<Epoch>) -> Result<HistoryPage, RoomError> {
        if !self.rules.keeps() {
            return Err(RoomError::NoHistory);
        }
        let position = self.stream().position();
        if epoch.is_some_and(|epoch| epoch != position.epoch) {
            return Err(RoomError::UnknownPosition);
        }
        let in_memory = self.stream().kept_from();
        let publications = match self.archive() {
            None => self.stream().page(query),
            Some(archive) => archive.page(self.room, query, in_memory, |query| self.stream().page(query)),
        };
        Ok(HistoryPage { room: Arc::clone(self.room), publications, position })
    }
}
