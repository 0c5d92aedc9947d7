//! Other mail systems, for servers in one process: they take, refuse, put off, or do not answer.

use grapevine_core::{Input, Start};
use grapevine_model::ServerName;

use crate::harness::Cluster;

impl Cluster {
    /// Other systems answer at once.
    pub(crate) fn hand_over(&mut self, at: &ServerName, order: grapevine_core::HandOver) {
        let by = "mx.outside.example".to_owned();
        let silent = (order.recipients.iter()).any(|to| self.silent.contains(to.name.registry()));
        let outcomes = order.recipients.iter().map(|to| {
            if silent || self.later.contains(&to.name) {
                return grapevine_core::HandOverOutcome::Later("451 4.7.1 greylisted".into());
            }
            match self.refuses.get(&to.name) {
                Some(status) => grapevine_core::HandOverOutcome::Refused {
                    status: status.clone(),
                    by: Some(by.clone()),
                    reason: format!("550 {status} not {}", to.name),
                },
                None => grapevine_core::HandOverOutcome::Taken {
                    by: by.clone(),
                    reply: "250 taken".into(),
                    reports: false,
                },
            }
        });
        let handed = grapevine_core::HandedOver {
            id: order.id,
            reached: match silent {
                true => grapevine_core::Reached::No("no answer".into()),
                false => grapevine_core::Reached::Yes,
            },
            outcomes: outcomes.collect(),
        };
        self.handed.push(order);
        self.input(at, Input::HandedOver(handed));
    }

    /// All servers start again, with a route to everybody else.
    pub(crate) fn open_to_the_world(&mut self) {
        self.routes = grapevine_core::Routes(vec![grapevine_core::Route {
            domain: grapevine_core::DomainPattern::Any,
            names: Default::default(),
            next: grapevine_core::NextHop::Exchangers,
            at_once: 4,
        }]);
        for at in self
            .nodes
            .keys()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
        {
            self.start(&at, Start::Resume);
        }
        self.pass(5_000);
    }
}
