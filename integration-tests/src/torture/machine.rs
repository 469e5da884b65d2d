//! Rounds: load, `kill -9` at a moment that chance chose, start. At the end ids are compared at every destination.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use super::everything::Everything;
use super::load::{Book, Posters, UserStream};
use super::pause::pause;
use super::verdict::Verdict;
use crate::sandbox::wait_for;
use crate::seeded_rng::SeededRng;

/// What is run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub rounds: u64,
    pub seed: u64,
    /// At most so many user events in one life of the server.
    pub users_per_life: u64,
    /// So many audit events in one life, a fifth of them screenshots.
    pub audits_per_life: u64,
}

/// How it went.
#[derive(Debug)]
pub struct Outcome {
    pub verdict: Verdict,
    pub kills: u64,
    pub users_acknowledged: u64,
    pub audits_acknowledged: u64,
    /// Posts that were cut off or refused, and sent again.
    pub unanswered: u64,
    pub took: Duration,
}

/// Where in its life a server is killed.
#[derive(Debug, Clone, Copy)]
enum Death {
    UnderLoad,
    /// After SIGTERM, before it has stopped.
    Stopping(Duration),
}

/// Runs the plan; `report` gets a line for each round.
///
/// # Panics
/// When a server does not start, or something that must happen does not within a minute.
pub fn run(plan: Plan, mut report: impl FnMut(&str)) -> Outcome {
    let begun = Instant::now();
    let mut seeded_rng = SeededRng::of_seed(plan.seed);
    let mut everything = Everything::start();
    let image_base = everything.world.image_base();
    let posters = Posters::new(everything.sandbox.address("audit-events"), image_base, 0);
    let (mut book, mut kills) = (Book::default(), 0);
    thread::scope(|scope| {
        for _ in 0..Posters::CLIENTS {
            scope.spawn(|| posters.post());
        }
        for round in 1..=plan.rounds {
            let life = live(plan, &mut everything, &posters, &mut book, &mut seeded_rng);
            let (more_kills, ready_after) = start_again(&mut everything, &mut seeded_rng);
            kills += 1 + more_kills;
            report(&format!(
                "round {round:3} of {}: {life}; {more_kills} more while starting; ready after {:4} ms; acknowledged so \
                 far: {} user, {} audit",
                plan.rounds,
                ready_after.as_millis(),
                book.users.len(),
                posters.count()
            ));
        }
        // The last life is not cut short.
        posters.allow_from_here(plan.audits_per_life);
        let stream = UserStream::new(&everything.sandbox, book.users_sent, plan.users_per_life);
        thread::scope(|scope| {
            scope.spawn(|| stream.send());
            wait_for("the last user events", || (stream.stored() >= plan.users_per_life).then_some(()));
            stream.stop();
        });
        stream.book(&mut book);
        posters.stop();
    });
    (book.audits, book.audits_sent) = (posters.acknowledged(), posters.sent());
    // Whatever waits is delivered, however slow the machine; then `held` finds nothing under way.
    everything.sandbox.settle_within(Duration::from_secs(600), 0);
    let verdict = Verdict::of(&book, &everything.held(&book, false));
    let dead_letters = everything.sandbox.metrics().sum("butler_sos_events_dead_lettered_total", &[]);
    assert_eq!(dead_letters, 0.0, "nothing here is poison");
    assert!(everything.sandbox.stop().success(), "a stop that is not cut short");
    everything.keep_unless_clean(&verdict);
    Outcome {
        verdict,
        kills,
        users_acknowledged: book.users.len() as u64,
        audits_acknowledged: book.audits.len() as u64,
        unanswered: posters.unanswered(),
        took: begun.elapsed(),
    }
}

/// One life of the server, from ready to killed; what happened in it.
fn live(
    plan: Plan,
    everything: &mut Everything,
    posters: &Posters,
    book: &mut Book,
    seeded_rng: &mut SeededRng,
) -> String {
    let begun = Instant::now();
    let audits_before = posters.count();
    posters.allow_from_here(plan.audits_per_life);
    // One kind of event or the other decides, so that either is met in full flow.
    let users = seeded_rng.within(1..plan.users_per_life * 3 / 4);
    let audits = audits_before + seeded_rng.within(1..plan.audits_per_life * 3 / 4);
    let decided_by_users = seeded_rng.once_in(2);
    let jitter = seeded_rng.up_to(Duration::from_millis(20));
    let death = match seeded_rng.once_in(6) {
        true => Death::Stopping(seeded_rng.up_to(Duration::from_millis(300))),
        false => Death::UnderLoad,
    };
    let stream = UserStream::new(&everything.sandbox, book.users_sent, plan.users_per_life);
    thread::scope(|scope| {
        let sending = scope.spawn(|| stream.send());
        wait_for("events to be acknowledged", || {
            let is_time = if decided_by_users { stream.stored() >= users } else { posters.count() >= audits };
            is_time.then_some(())
        });
        pause(jitter);
        if let Death::Stopping(after) = death {
            everything.sandbox.signal("TERM");
            pause(after);
        }
        everything.sandbox.kill();
        stream.stop();
        sending.join().expect("the stream does not panic");
    });
    stream.book(book);
    format!(
        "killed {} after {:4} ms, {:4} user and {:3} audit events",
        match death {
            Death::UnderLoad => "under load    ",
            Death::Stopping(_) => "while stopping",
        },
        begun.elapsed().as_millis(),
        stream.stored(),
        posters.count() - audits_before
    )
}

/// Starts the server, at times only to kill it while it does: how often, and how long the last start took.
fn start_again(everything: &mut Everything, seeded_rng: &mut SeededRng) -> (u64, Duration) {
    let mut kills = 0;
    while seeded_rng.once_in(4) {
        everything.sandbox.spawn();
        pause(seeded_rng.up_to(Duration::from_millis(500)));
        everything.sandbox.kill();
        kills += 1;
    }
    let begun = Instant::now();
    everything.sandbox.start();
    (kills, begun.elapsed())
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lost, doubled) = self.verdict.lost_and_doubled();
        write!(
            f,
            "{}{} kills in {:.0} s; {} user events and {} audit events acknowledged, {} posts sent again; lost {lost}, \
             doubled {doubled}",
            self.verdict,
            self.kills,
            self.took.as_secs_f64(),
            self.users_acknowledged,
            self.audits_acknowledged,
            self.unanswered
        )
    }
}
