//! What a test asks of the cluster, and the answers.

use std::collections::BTreeSet;

use grapevine_core::Input;
use grapevine_model::{
    Envelope, ErrorKind, MessageId, Refusal, Reply, Request, RequestId, Secret, Seen, Source,
    Speaker, Submission,
};

use crate::harness::{Cluster, body, name, server};

impl Cluster {
    fn wait_for(&mut self, id: RequestId) -> Result<Reply, Refusal> {
        self.pump();
        for _ in 0..200 {
            if let Some(result) = self.replies.remove(&id) {
                return result;
            }
            self.pass(100);
        }
        panic!("no reply");
    }

    /// An input that is answered, other than a request.
    pub(crate) fn answer_to(
        &mut self,
        at: &str,
        input: impl FnOnce(RequestId) -> Input,
    ) -> (RequestId, Result<Reply, Refusal>) {
        self.next += 1;
        let id = RequestId(self.next);
        self.input(&server(at), input(id));
        (id, self.wait_for(id))
    }

    pub(crate) fn ask(
        &mut self,
        at: &str,
        speaker: Speaker,
        request: Request,
    ) -> Result<Reply, Refusal> {
        self.ask_after(at, speaker, request, &[])
    }

    pub(crate) fn ask_after(
        &mut self,
        at: &str,
        speaker: Speaker,
        request: Request,
        seen: &[Seen],
    ) -> Result<Reply, Refusal> {
        self.next += 1;
        let id = RequestId(self.next);
        self.input(
            &server(at),
            Input::Request {
                id,
                speaker,
                request,
                seen: seen.to_vec(),
            },
        );
        self.wait_for(id)
    }

    /// Asks, and does not wait for the answer.
    pub(crate) fn begin(&mut self, at: &str, speaker: Speaker, request: Request) -> RequestId {
        self.next += 1;
        let id = RequestId(self.next);
        self.input(
            &server(at),
            Input::Request {
                id,
                speaker,
                request,
                seen: Vec::new(),
            },
        );
        id
    }

    /// The answer, if there is one by now.
    pub(crate) fn result_now(&mut self, id: RequestId) -> Option<Result<Reply, Refusal>> {
        self.replies.remove(&id)
    }

    pub(crate) fn ok(&mut self, at: &str, speaker: Speaker, request: Request) -> Reply {
        let shown = format!("{request:?}");
        self.ask(at, speaker, request)
            .unwrap_or_else(|refusal| panic!("{shown}: {refusal:?}"))
    }

    pub(crate) fn refused(&mut self, at: &str, speaker: Speaker, request: Request) -> ErrorKind {
        let shown = format!("{request:?}");
        match self.ask(at, speaker, request) {
            Err(refusal) => refusal.kind,
            Ok(reply) => panic!("{shown} gave {reply:?}"),
        }
    }

    /// The speaker that an individual is after logging in.
    pub(crate) fn login(&mut self, who: &str) -> Speaker {
        let request = Request::Authenticate {
            name: name(who),
            password: Secret(who.into()),
            source: Source::Local,
        };
        match self.ok("s1", Speaker::Anonymous, request) {
            Reply::Authenticated(a) => Speaker::Individual {
                name: a.name,
                incarnation: a.incarnation,
            },
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn begin_submit(
        &mut self,
        at: &str,
        speaker: Speaker,
        from: Option<&str>,
        to: &[&str],
        text: &str,
        id: Option<MessageId>,
    ) -> RequestId {
        self.next += 1;
        let request = RequestId(self.next);
        let envelope = Envelope {
            return_path: from.map(name),
            recipients: to.iter().map(|r| name(r).into()).collect(),
            content: Default::default(),
            envelope_id: None,
        };
        let staged = self.stage(&server(at), body(text));
        let submission = Submission {
            id,
            speaker,
            envelope,
            body: body(text),
            reports: None,
        };
        self.input(
            &server(at),
            Input::Submit {
                id: request,
                submission,
                staged,
            },
        );
        request
    }

    pub(crate) fn submit(&mut self, at: &str, from: &str, to: &[&str], text: &str) -> MessageId {
        let speaker = self.login(from);
        let request = self.begin_submit(at, speaker, Some(from), to, text, None);
        match self.wait_for(request) {
            Ok(Reply::Accepted { message, .. }) => message,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn result(&mut self, id: RequestId) -> Result<Reply, Refusal> {
        self.wait_for(id)
    }

    pub(crate) fn inbox(&mut self, at: &str, who: &str) -> Vec<MessageId> {
        let speaker = Speaker::Operator;
        match self.ok(at, speaker, Request::InboxList { name: name(who) }) {
            Reply::Inbox(listing) => {
                let ids: Vec<MessageId> = listing.messages.iter().map(|m| m.message).collect();
                assert_eq!(
                    ids.len(),
                    ids.iter().collect::<BTreeSet<_>>().len(),
                    "listed twice"
                );
                ids
            }
            other => panic!("{other:?}"),
        }
    }
}
