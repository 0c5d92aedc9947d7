//! A run: servers, clients, rounds of faults, and the account after each.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::Signal;

use crate::askers::Asker;
use crate::changers::Changer;
use crate::check;
use crate::dice::Dice;
use crate::disk::{Disks, Full};
use crate::machine::{Machines, PASSWORD, Programs, REGISTRAR};
use crate::mail_programs::Program;
use crate::pause;
use crate::plan::{self, After, Fault, Loss, Strike, Successor, Way};
use crate::readers::Reader;
use crate::retire::{self, Load};
use crate::senders::Sender;
use crate::world::{CLUBS, PROGRAMS, VICTIM, World, password_of};

/// What a run says that could not be ended: servers that do not start, or have not settled.
pub const STUCK: &str = "the run could not go on";
/// A run with so many violations says nothing more by going on.
const MOST_VIOLATIONS: usize = 20;
/// What a server rightly says when its disk is full: a person must act.
const FULL_DISK: [&str; 4] = [
    "the disk is nearly full",
    "a commit could not be written",
    "the store has failed and takes no more commits",
    "No space left on device",
];
/// Clients pause so long between two operations, at most: many small ones say more than a few at full speed.
const PACE_MS: u64 = 120;
/// A lost server is struck off only when it is held for lost.
const STRUCK_OFF: Duration = Duration::from_secs(60);

/// What a run is.
#[derive(Debug, Clone)]
pub struct Options {
    /// Decides the faults.
    pub seed: u64,
    /// How many servers.
    pub servers: usize,
    /// Rounds are begun for so long.
    pub length: Duration,
    /// Faults of a round come in this time.
    pub round: Duration,
    /// Instead of faults: a server that is full of mail is retired.
    pub retire: Option<Load>,
    /// The program `grapevine`.
    pub program: PathBuf,
    /// What it is replaced by where the program is rolled; none: by itself.
    pub other_program: Option<PathBuf>,
    /// The mistake that all servers make on purpose: their program must have been built for that.
    pub planted: Option<String>,
    /// What happens is told as it happens.
    pub tells: bool,
    /// The folder is kept.
    pub keeps: bool,
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// For a person.
    pub text: String,
    /// The same as Markdown.
    pub markdown: String,
    /// What was wrong; nothing, if all is well.
    pub violations: Vec<String>,
    /// Messages that were accepted.
    pub accepted: usize,
    /// Faults that were injected.
    pub faults: u64,
}

struct Run<'a> {
    options: &'a Options,
    world: &'a World,
    machines: Machines,
    begun: Instant,
    /// What else there is to be reported.
    more: String,
}

/// Runs.
///
/// # Errors
/// The run itself could not go on: servers that do not start or do not answer their operator.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    let begun = Instant::now();
    let temp = tempfile::Builder::new()
        .prefix("grapevine-torture-")
        .tempdir()?;
    let folder = match options.keeps {
        true => temp.keep(),
        false => temp.path().to_path_buf(),
    };
    let other = options.other_program.as_ref();
    let programs = Programs {
        first: options.program.clone(),
        other: other.unwrap_or(&options.program).clone(),
        planted: options.planted.clone(),
        disks: match options.keeps {
            true => Disks::Kept,
            false => Disks::Small,
        },
    };
    let machines = Machines::up(programs, &folder, options.servers)?;
    let crowd = options.retire.map(retire::names).unwrap_or_default();
    let world = Arc::new(World::new(machines.places.clone(), crowd)?);
    let mut run = Run {
        options,
        world: &world,
        machines,
        begun,
        more: String::new(),
    };
    run.tell(&format!(
        "{} servers in {}",
        options.servers,
        folder.display()
    ));
    if run.machines.disk(0).is_none() {
        let why = match options.keeps {
            true => "the folders are kept",
            false => "no small one can be mounted here",
        };
        run.more = format!("left out: full disks ({why})\n");
        run.tell(run.more.trim());
    }
    run.begin()?;
    let clients = clients(&world, options.seed);
    let ended = match options.retire {
        Some(load) => run.retires(load),
        None => run.rounds(),
    };
    world.end();
    for client in clients {
        // A client that failed has said why.
        if client.join().is_err() {
            world
                .oracle()
                .violation("a client of the run has panicked".to_owned());
        }
    }
    if let Err(error) = &ended {
        world.oracle().violation(format!("{STUCK}: {error:#}"));
    }
    run.look_at_logs();
    if options.keeps {
        run.tell(&format!("kept: {}", folder.display()));
    }
    Ok(run.report())
}

impl Run<'_> {
    #[expect(clippy::print_stderr, reason = "what happens is told as it happens")]
    fn tell(&self, what: &str) {
        if self.options.tells {
            eprintln!("{:>8.1} s  {what}", self.begun.elapsed().as_secs_f64());
        }
    }

    fn begin(&mut self) -> anyhow::Result<()> {
        let operator = check::operator(self.world, &self.machines.dir(0));
        let holders: Vec<String> = (1..self.machines.count())
            .map(|machine| self.machines.name(machine))
            .collect();
        self.world.populate(&operator, &holders)?;
        let all: Vec<String> = (0..self.machines.count())
            .map(|machine| self.machines.name(machine))
            .collect();
        retire::make(self.world, &operator, &all)?;
        check::settle(self.world, &self.machines)?;
        Ok(())
    }

    fn rounds(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut number = 0;
        // A mistake that was planted is found by its first violation.
        let most = match self.options.planted {
            Some(_) => 1,
            None => MOST_VIOLATIONS,
        };
        while begun.elapsed() < self.options.length && self.world.oracle().violations.len() < most {
            let length_ms = u64::try_from(self.options.round.as_millis()).unwrap_or(u64::MAX);
            let round = plan::round(self.options.seed, number, self.machines.count(), length_ms);
            self.tell(&format!("round {number}: {} faults", round.strikes.len()));
            self.world.open();
            self.strikes(&round.strikes)?;
            self.account("the faults")?;
            self.world.open();
            match &round.after {
                After::Loss(loss) => {
                    self.loses(loss)?;
                    self.account("the loss of a machine")?;
                }
                After::Roll { order, pause_ms } => {
                    self.rolls(order, Duration::from_millis(*pause_ms))?;
                    self.account("the program was rolled")?;
                }
                After::Newcomer { by, stays_ms } => {
                    self.world.figures().fault("server joined, and retired");
                    let stays = Duration::from_millis(*stays_ms);
                    let took = retire::comes_and_goes(self.world, &mut self.machines, *by, stays)?;
                    self.tell(&format!("a server came, and left within {took:.1?}"));
                    self.account("a server came and left")?;
                }
            }
            number += 1;
        }
        Ok(())
    }

    /// A server that is full of mail leaves while clients go on.
    fn retires(&mut self, load: Load) -> anyhow::Result<()> {
        self.world.figures().fault("server retired");
        let seed = self.options.seed;
        let took = retire::retire(self.world, &mut self.machines, seed, load)?;
        let text = took.text(load);
        self.tell(text.trim());
        self.more.push_str(&text);
        self.account("the server has left")
    }

    /// Clients pause, everything settles, and is held against what they know.
    fn account(&mut self, after: &str) -> anyhow::Result<()> {
        self.world.close()?;
        let settled =
            check::settle(self.world, &self.machines).with_context(|| format!("after {after}"))?;
        check::account(self.world, &self.machines).with_context(|| format!("after {after}"))?;
        check::settle(self.world, &self.machines)?;
        let [accepted, ..] = self.world.oracle().counts();
        self.tell(&format!(
            "after {after}: settled in {settled:.1?}, {accepted} messages accounted for"
        ));
        Ok(())
    }

    /// Everything that a round has, each at its time; afterwards all is healed.
    fn strikes(&mut self, strikes: &[Strike]) -> anyhow::Result<()> {
        let begun = Instant::now();
        // What is still to be mended, and when.
        let mut mend: Vec<(u64, &Fault)> = Vec::new();
        let mut next = strikes.iter().peekable();
        loop {
            let due = mend.iter().enumerate().min_by_key(|(_, (at_ms, _))| *at_ms);
            let mended = due.map(|(place, (at_ms, _))| (place, *at_ms));
            let struck = next.peek().map(|strike| strike.at_ms);
            match (mended, struck) {
                (None, None) => break,
                (Some((place, at_ms)), struck) if struck.is_none_or(|struck| at_ms <= struck) => {
                    wait_until(begun, at_ms);
                    let (_, fault) = mend.swap_remove(place);
                    self.mends(fault)?;
                }
                _ => {
                    let Some(strike) = next.next() else { break };
                    wait_until(begun, strike.at_ms);
                    self.tell(&strike.fault.to_string());
                    if matches!(strike.fault, Fault::Disk { machine, .. } if self.machines.disk(machine).is_none())
                    {
                        continue;
                    }
                    self.world.figures().fault(strike.fault.kind());
                    self.strikes_now(&strike.fault);
                    mend.push((strike.at_ms + strike.fault.lasts_ms(), &strike.fault));
                }
            }
        }
        for machine in 0..self.machines.count() {
            self.machines.wait_until_ready(machine)?;
        }
        Ok(())
    }

    fn strikes_now(&mut self, fault: &Fault) {
        match fault {
            Fault::Kill { machine, .. } => self.machines.kill(*machine),
            Fault::Stop { machine, .. } => self.machines.signal(*machine, Signal::SIGSTOP),
            Fault::Terminate { machine, .. } => self.ends_in_order(*machine),
            Fault::Clock {
                machine, off_ms, ..
            } => {
                self.ends_in_order(*machine);
                self.machines.move_clock(*machine, *off_ms);
            }
            Fault::Cut { ways, .. } => self.machines.relays.cut(ways),
            Fault::Sever { machine } => self.machines.relays.sever(*machine),
            Fault::Disk { machine, full, .. } => {
                let filled = self.machines.disk(*machine).map(|disk| disk.fill(*full));
                if let Some(Err(error)) = filled {
                    self.tell(&format!("the disk could not be filled: {error}"));
                }
            }
            Fault::Blackout { .. } => {
                (0..self.machines.count()).for_each(|machine| self.machines.kill(machine));
            }
        }
    }

    fn ends_in_order(&mut self, machine: usize) {
        if let Some(wrong) = self.machines.terminate(machine) {
            self.world.oracle().violation(wrong);
        }
    }

    fn mends(&mut self, fault: &Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Kill { machine, .. }
            | Fault::Terminate { machine, .. }
            | Fault::Clock { machine, .. } => self.machines.launch(*machine)?,
            Fault::Stop { machine, .. } => self.machines.signal(*machine, Signal::SIGCONT),
            Fault::Cut { ways, .. } => self.machines.relays.heal(ways),
            Fault::Sever { .. } => {}
            Fault::Disk { machine, full, .. } => {
                if let Some(disk) = self.machines.disk(*machine) {
                    disk.relieve();
                }
                // A server that can't write stops, or is about to: its operator starts it again.
                if *full == Full::Whole {
                    self.machines.kill(*machine);
                    self.machines.launch(*machine)?;
                }
            }
            Fault::Blackout { .. } => {
                for machine in 0..self.machines.count() {
                    self.machines.launch(machine)?;
                }
            }
        }
        Ok(())
    }

    /// Each server's program is replaced by the other one, one server after the other.
    fn rolls(&mut self, order: &[usize], pauses: Duration) -> anyhow::Result<()> {
        self.world.figures().fault("program rolled");
        for machine in order.iter().copied() {
            self.ends_in_order(machine);
            self.machines.replace_program(machine);
            self.machines.launch(machine)?;
            self.machines.wait_until_ready(machine)?;
            self.tell(&format!("machine {}: another program", machine + 1));
            pause(pauses);
        }
        Ok(())
    }

    /// A machine is lost with its disk, while clients go on, and rebuilt from the others.
    fn loses(&mut self, loss: &Loss) -> anyhow::Result<()> {
        let begun = Instant::now();
        let Loss { machine, .. } = *loss;
        wait_until(begun, loss.at_ms);
        let lost = self.machines.name(machine);
        self.tell(&format!(
            "machine {}: {lost} is lost with its disk",
            machine + 1
        ));
        let ways: Vec<Way> = (0..self.machines.count())
            .filter(|other| *other != machine)
            .flat_map(|other| plan::between(machine, other))
            .collect();
        let kind = match loss.cut_off_ms {
            0 => "machine lost, disk included",
            _ => {
                self.machines.relays.cut(&ways);
                wait_until(begun, loss.at_ms + loss.cut_off_ms);
                "machine cut off, then lost"
            }
        };
        self.world.figures().fault(kind);
        // What had one copy there, and was not said to have more, may be gone.
        self.machines.kill(machine);
        self.world.oracle().lost += 1;
        self.machines.destroy(machine)?;
        if loss.cut_off_ms > 0 {
            self.machines.relays.heal(&ways);
        }
        wait_until(begun, loss.at_ms + loss.cut_off_ms + loss.unnoticed_ms);
        let by = (machine + 1) % self.machines.count();
        match loss.successor {
            Successor::NewName => {
                self.machines.rename(machine);
                self.machines.join(machine, by)?;
                self.machines.start(machine)?;
                self.strikes_off(&lost, by)?;
            }
            Successor::OldName => {
                self.strikes_off(&lost, by)?;
                self.machines.join(machine, by)?;
                self.machines.start(machine)?;
            }
        }
        let new = self.machines.name(machine);
        self.holds_what_it_should(&new, by)?;
        self.tell(&format!("machine {}: {new} is in its place", machine + 1));
        Ok(())
    }

    /// Until nobody knows of it any more: one that was heard a moment ago is not yet held for lost.
    fn strikes_off(&self, lost: &str, by: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let retired = self.machines.retire(lost, by);
            let status = self
                .machines
                .operator(by, &["status", "--keys", "--json"])?;
            if !status.contains(&format!("\"{lost}\"")) {
                return Ok(());
            }
            if begun.elapsed() > STRUCK_OFF {
                anyhow::bail!("{lost} is not struck off: {retired:?}: {status}");
            }
            pause(Duration::from_millis(500));
        }
    }

    /// Each registry has two holders at least: an operator sees to it.
    fn holds_what_it_should(&self, new: &str, by: usize) -> anyhow::Result<()> {
        for registry in [
            crate::machine::FIRST_REGISTRY,
            crate::world::SECOND_REGISTRY,
        ] {
            let shown = self
                .machines
                .operator(by, &["registry", "show", registry, "--json"])?;
            if !shown.contains(&format!("\"{new}\"")) {
                self.machines
                    .operator(by, &["registry", "holders", registry, "--add", new])?;
            }
        }
        Ok(())
    }

    /// An ERROR is for a person to act on: none is expected of anything here. Nor is a panic ever.
    fn look_at_logs(&self) {
        for (server, log) in self.machines.logs() {
            let is_error = |line: &&str| {
                let of_a_disk = FULL_DISK.iter().any(|known| line.contains(known));
                (line.contains(" ERROR ") && !of_a_disk) || line.contains("panicked")
            };
            for line in log.lines().filter(is_error).take(3) {
                self.world
                    .oracle()
                    .violation(format!("{server} logged: {line}"));
            }
        }
    }

    fn report(&self) -> Report {
        let oracle = self.world.oracle();
        let figures = self.world.figures();
        let [accepted, one_copy, unknown, refused] = oracle.counts();
        let what = format!(
            "seed {}, {} servers, {:.0} s",
            self.options.seed,
            self.options.servers,
            self.begun.elapsed().as_secs_f64(),
        );
        let mut sums = format!(
            "{}messages: {accepted} accepted ({one_copy} on one disk at first), {unknown} unknown, {refused} refused\n\
             changes of registries acknowledged: {}\n\
             deeds in folders acknowledged: {}\n\
             machines lost and rebuilt: {}\n\
             violations: {}\n",
            self.more,
            oracle.acknowledged(),
            oracle.folders.acknowledged(),
            oracle.lost,
            oracle.violations.len()
        );
        for violation in &oracle.violations {
            sums.push_str(&format!("  {violation}\n"));
        }
        Report {
            text: format!("{what}\n\n{}\n{sums}", figures.table()),
            markdown: format!(
                "# Torture run: {what}\n\n{}\n```\n{sums}```\n",
                figures.markdown()
            ),
            violations: oracle.violations.clone(),
            accepted,
            faults: figures.faults(),
        }
    }
}

fn wait_until(begun: Instant, at_ms: u64) {
    pause(Duration::from_millis(at_ms).saturating_sub(begun.elapsed()));
}

/// One operation after the other, for as long as the world goes on.
fn client(
    world: &Arc<World>,
    seed: u64,
    number: usize,
    mut work: impl FnMut(&mut Kit<'_>) + Send + 'static,
) -> thread::JoinHandle<()> {
    let world = Arc::clone(world);
    thread::spawn(move || {
        let dice = |purpose: u64| Dice::new(seed, purpose * 100 + number as u64);
        let mut kit = Kit {
            world: &world,
            sender: Sender::new(&world, number, dice(1)),
            reader: Reader::new(&world, number, dice(2)),
            changer: Changer::new(&world, number, dice(3)),
            program: Program::new(&world, number, dice(5)),
            asker: Asker::new(&world, number, dice(6)),
            users: std::collections::BTreeMap::new(),
        };
        let mut pace = dice(4);
        while let Some(inside) = world.enter() {
            work(&mut kit);
            drop(inside);
            pause(Duration::from_millis(pace.below(PACE_MS)));
        }
    })
}

/// All that a client can do, and who it is.
struct Kit<'a> {
    world: &'a World,
    sender: Sender<'a>,
    reader: Reader<'a>,
    changer: Changer<'a>,
    program: Program<'a>,
    asker: Asker<'a>,
    users: std::collections::BTreeMap<String, grapevine_user::GrapevineUser>,
}

impl Kit<'_> {
    /// GrapevineUser for somebody; none while no server answers.
    fn user(&mut self, who: &str) -> Option<grapevine_user::GrapevineUser> {
        if !self.users.contains_key(who) {
            let password = match who {
                REGISTRAR => PASSWORD.to_owned(),
                _ => password_of(who),
            };
            let user = self.world.user(Some((who, &password))).ok()?;
            self.users.insert(who.to_owned(), user);
        }
        self.users.get(who).cloned()
    }
}

fn clients(world: &Arc<World>, seed: u64) -> Vec<thread::JoinHandle<()>> {
    let mut all = Vec::new();
    let mut number = 0;
    let mut add = |work: Box<dyn FnMut(&mut Kit<'_>) + Send>| {
        let mut work = work;
        all.push(client(world, seed, number, move |kit| work(kit)));
        number += 1;
    };
    for _ in 0..2 {
        add(Box::new(|kit| kit.sender.submits_by_smtp()));
        add(Box::new(|kit| kit.reader.reads_by_pop3()));
    }
    add(Box::new(|kit| kit.sender.arrives_by_smtp()));
    add(Box::new(|kit| kit.sender.hands_over_by_lmtp()));
    for owner in PROGRAMS {
        add(Box::new(move |kit| kit.program.works(owner)));
    }
    let mut asked = 0;
    add(Box::new(move |kit| {
        asked += 1;
        match asked % 8 {
            0 => kit.asker.intrudes("p3@pa.example"),
            1 | 5 => kit.asker.looks_up("p2@pa.example"),
            2 | 6 => kit.asker.sends(&mut kit.sender, "p5@pa.example"),
            _ => kit.asker.lets_in_and_shuts_out(),
        }
    }));
    for who in ["p1@pa.example", "e2@es.example"] {
        add(Box::new(move |kit| {
            if let Some(user) = kit.user(who) {
                kit.sender.submits_by_rpc(&user, who);
            }
        }));
        let mut turn = 0;
        add(Box::new(move |kit| {
            // Its own inbox, and everybody else's in turn.
            let owners = &kit.world.people;
            turn += 1;
            let owner = owners
                .get(turn % owners.len().max(1))
                .cloned()
                .unwrap_or_default();
            if let Some(user) = kit.user(&owner) {
                kit.reader.reads_by_rpc(&user, &owner);
            }
        }));
    }
    for (club, owner) in CLUBS {
        add(Box::new(move |kit| {
            if let Some(user) = kit.user(owner) {
                kit.changer.changes_a_member(&user, club);
            }
        }));
    }
    add(Box::new(|kit| {
        if let Some(user) = kit.user(REGISTRAR) {
            kit.changer.changes_a_password(&user);
        }
    }));
    add(Box::new(|kit| {
        if let Some(user) = kit.user("p2@pa.example") {
            kit.changer.asks(&user);
        }
    }));
    let mut turn = 0;
    add(Box::new(move |kit| {
        turn += 1;
        if turn % 40 == 0 {
            kit.changer.guesses();
        } else if let Some(user) = kit.user("p3@pa.example") {
            match turn % 2 {
                0 => kit.changer.intrudes(&user),
                _ => kit.sender.forges(&user, VICTIM),
            }
        }
    }));
    all
}
