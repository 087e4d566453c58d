//! The task behind a store: keeps the connection, sends what is asked in batches, notices when nobody answers.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, RedisError, ServerErrorKind, Value};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::connect::{CONNECT, Connection, Target};
use super::{Call, Job, Shared, Unavailable};

/// Commands that travel together at most.
const BATCH: usize = 256;
/// How long nothing may be asked before a sign of life is.
const IDLE: Duration = Duration::from_secs(1);

/// How long and how often.
pub(super) struct Pace {
    pub timeout: Duration,
    pub failures: u32,
    pub retry: Duration,
}

/// How a batch ended.
enum Ended {
    Answered,
    TimedOut,
    Broken(String),
}

/// Runs until nobody can ask any more.
pub(super) async fn drive(target: Target, shared: Arc<Shared>, mut jobs: mpsc::Receiver<Job>, pace: Pace) {
    let mut told = false;
    loop {
        // Four round trips at most lie in a connection; sentinels and clusters are asked several.
        match timeout(CONNECT.max(pace.timeout) * 2, target.connect()).await {
            Ok(Ok(connection)) => {
                shared.set_up(true);
                shared.settled.send_replace(true);
                tracing::info!(store = &*shared.name, "store answers");
                let Some(why) = serve(connection, &shared, &mut jobs, &pace).await else {
                    return;
                };
                shared.set_up(false);
                tracing::warn!(
                    store = &*shared.name,
                    why,
                    "store does not answer; policies do what `on_failure` says"
                );
                told = true;
            }
            Ok(Err(error)) => warn_once(&mut told, &shared, &error.to_string()),
            Err(_) => warn_once(&mut told, &shared, "no connection in time"),
        }
        shared.settled.send_replace(true);
        // What was asked while nobody knew.
        while let Ok(job) = jobs.try_recv() {
            let _ = job.answer.send(Err(Unavailable::Down));
        }
        if jobs.is_closed() {
            return;
        }
        sleep(pace.retry).await;
    }
}

fn warn_once(told: &mut bool, shared: &Shared, why: &str) {
    if !*told {
        *told = true;
        tracing::warn!(
            store = &*shared.name,
            why,
            "store cannot be reached; policies do what `on_failure` says"
        );
    }
}

/// Serves on one connection until it is no good any more: says why. None if nobody can ask any more.
async fn serve(
    connection: Connection,
    shared: &Arc<Shared>,
    jobs: &mut mpsc::Receiver<Job>,
    pace: &Pace,
) -> Option<String> {
    let mut under_way: JoinSet<Ended> = JoinSet::new();
    let mut batch = Vec::with_capacity(BATCH);
    let mut failures = 0;
    loop {
        tokio::select! {
            biased;
            Some(ended) = under_way.join_next(), if !under_way.is_empty() => match ended {
                Ok(Ended::Answered) => failures = 0,
                Ok(Ended::TimedOut) => {
                    failures += 1;
                    if failures >= pace.failures {
                        return Some(format!("{failures} times in a row no answer in time"));
                    }
                }
                Ok(Ended::Broken(why)) => return Some(why),
                Err(_) => return Some("its task ended".to_owned()),
            },
            count = jobs.recv_many(&mut batch, BATCH) => {
                if count == 0 {
                    return None;
                }
                let batch = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                under_way.spawn(run(connection.clone(), batch, shared.clone(), pace.timeout));
            }
            () = sleep(IDLE) => {
                under_way.spawn(run(connection.clone(), Vec::new(), shared.clone(), pace.timeout));
            }
        }
    }
}

/// Sends a batch and hands out the answers. An empty one asks for a sign of life.
async fn run(mut connection: Connection, batch: Vec<Job>, shared: Arc<Shared>, limit: Duration) -> Ended {
    let count = batch.len() as u64;
    let commands = match batch.as_slice() {
        [] => vec![redis::cmd("PING")],
        batch => batch.iter().map(|job| command(&job.call, false)).collect(),
    };
    let answers = match timeout(limit, connection.all(commands)).await {
        Ok(Ok(answers)) => answers,
        Ok(Err(error)) if error.is_timeout() => {
            shared.timed_out.add_shared(count);
            return Ended::TimedOut;
        }
        Ok(Err(error)) => {
            shared.failed.add_shared(count);
            return Ended::Broken(error.to_string());
        }
        Err(_) => {
            shared.timed_out.add_shared(count);
            return Ended::TimedOut;
        }
    };
    let (mut again, mut ended) = (Vec::new(), Ended::Answered);
    for (job, answer) in batch.into_iter().zip(answers) {
        match answer {
            Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript) => again.push(job),
            answer => hand_over(job, answer, &shared, &mut ended),
        }
    }
    if again.is_empty() {
        return ended;
    }
    // A server that does not know the script, because it is new or was told to forget, learns it by the way.
    let commands = again.iter().map(|job| command(&job.call, true)).collect();
    match timeout(limit, connection.all(commands)).await {
        Ok(Ok(answers)) => {
            for (job, answer) in again.into_iter().zip(answers) {
                hand_over(job, answer, &shared, &mut ended);
            }
            ended
        }
        Ok(Err(error)) => {
            shared.failed.add_shared(again.len() as u64);
            Ended::Broken(error.to_string())
        }
        Err(_) => {
            shared.timed_out.add_shared(again.len() as u64);
            Ended::TimedOut
        }
    }
}

fn hand_over(job: Job, answer: Value, shared: &Shared, ended: &mut Ended) {
    let answer = match answer {
        Value::ServerError(error) => {
            shared.failed.add_shared(1);
            let kind = error.kind();
            let why = RedisError::from(error).to_string();
            // It is there, but not the one to ask: it loads its data, or another has taken its place.
            let leave = [
                ServerErrorKind::ReadOnly,
                ServerErrorKind::BusyLoading,
                ServerErrorKind::MasterDown,
            ];
            if kind.is_some_and(|kind| leave.contains(&kind)) {
                *ended = Ended::Broken(why);
            } else {
                tracing::debug!(store = &*shared.name, why, "store refused a command");
            }
            Err(Unavailable::Refused)
        }
        answer => {
            shared.answered.add_shared(1);
            Ok(answer)
        }
    };
    // Whoever asked may be gone.
    let _ = job.answer.send(answer);
}

fn command(call: &Call, with_source: bool) -> Cmd {
    match call {
        Call::Command(command) => command.clone(),
        Call::Script {
            script,
            key,
            arguments,
        } => {
            let mut command = if with_source {
                let mut command = redis::cmd("EVAL");
                command.arg(script.source);
                command
            } else {
                let mut command = redis::cmd("EVALSHA");
                command.arg(&script.hash);
                command
            };
            command.arg(1).arg(key).arg(arguments);
            command
        }
    }
}
