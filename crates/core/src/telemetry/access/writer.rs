//! The writer's side of the access log: one thread that writes what workers hand over.
//!
//! It may block on a slow disk or pipe; workers do not notice but by the lines they drop. An error never
//! ends it: what could not be written is counted, and the next chunk tries again.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    AccessBuffer, Counts, Options, Output,
    buffer::{Chunk, FULL},
    sink::Sink,
};

/// The access log as its owner sees it. Dropping it leaves the writer to end with the last buffer.
#[derive(Debug)]
pub struct AccessLog {
    orders: Arc<Mutex<Vec<Order>>>,
    wake: SyncSender<Message>,
    ended: Mutex<Receiver<()>>,
}

#[derive(Debug)]
pub(super) enum Message {
    Chunk(Chunk),
    /// There are orders to look at.
    Wake,
}

/// What the writer is told to do besides writing.
#[derive(Debug)]
enum Order {
    Reopen,
    Replace(Sink),
    Close,
}

impl AccessLog {
    /// Opens the output and starts the writer; one buffer for each worker, in order.
    ///
    /// Fails if a file cannot be opened or the thread cannot be started. A syslog that is not there yet is
    /// no error: it is tried again with each chunk.
    pub fn start(options: &Options, counts: Counts) -> io::Result<(AccessLog, Vec<AccessBuffer>)> {
        let sink = Sink::open(&options.output)?;
        let workers = options.workers.max(1);
        // One to fill and one on its way are the least that makes sense.
        let each = (options.capacity / FULL / workers).max(2);
        // Room for every buffer there is, so that a worker's send always succeeds, and for waking.
        let (full, inbox) = sync_channel(each * workers + 4);
        let (buffers, homes) = (0..workers)
            .map(|worker| AccessBuffer::new(worker, each, full.clone(), counts.clone()))
            .unzip();
        let (ending, ended) = sync_channel(1);
        let orders = Arc::default();
        let writer = Writer {
            inbox,
            homes,
            sink,
            counts,
            orders: Arc::clone(&orders),
            failing: false,
        };
        // Not joined: `close` waits for its last word instead, with a limit. It ends when told to, or when
        // nobody is left to send.
        thread::Builder::new().name("access-log".into()).spawn(move || {
            writer.run();
            let _ = ending.send(());
        })?;
        Ok((
            AccessLog {
                orders,
                wake: full,
                ended: Mutex::new(ended),
            },
            buffers,
        ))
    }

    /// Opens the file anew, for log rotation. Also happens by itself when the file was moved.
    pub fn reopen(&self) {
        self.order(Order::Reopen);
    }

    /// Writes to another output from now on. Fails, and changes nothing, if it cannot be opened.
    pub fn redirect(&self, output: &Output) -> io::Result<()> {
        self.order(Order::Replace(Sink::open(output)?));
        Ok(())
    }

    /// Writes everything handed over so far and ends, once. False if the output did not take it within
    /// `patience`. Lines of buffers that still exist are lost: drop or flush those first.
    pub fn close(&self, patience: Duration) -> bool {
        self.order(Order::Close);
        self.ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv_timeout(patience)
            .is_ok()
    }

    fn order(&self, order: Order) {
        self.orders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(order);
        // If there is no room, the writer is awake and looks at its orders before each chunk.
        let _ = self.wake.try_send(Message::Wake);
    }
}

struct Writer {
    inbox: Receiver<Message>,
    /// The way back for empty buffers, by worker.
    homes: Vec<SyncSender<Vec<u8>>>,
    sink: Sink,
    counts: Counts,
    orders: Arc<Mutex<Vec<Order>>>,
    failing: bool,
}

impl Writer {
    fn run(mut self) {
        while let Ok(message) = self.inbox.recv() {
            let closing = self.obey();
            if let Message::Chunk(chunk) = message {
                self.write(chunk);
            }
            if closing {
                while let Ok(message) = self.inbox.try_recv() {
                    if let Message::Chunk(chunk) = message {
                        self.write(chunk);
                    }
                }
                return;
            }
        }
    }

    /// Carries out orders; true if the last is to close.
    fn obey(&mut self) -> bool {
        let orders = std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner));
        for order in orders {
            match order {
                Order::Reopen => {
                    let result = self.sink.reopen();
                    self.report(result);
                }
                Order::Replace(sink) => self.sink = sink,
                Order::Close => return true,
            }
        }
        false
    }

    fn write(&mut self, chunk: Chunk) {
        let Chunk {
            worker,
            lines,
            mut bytes,
        } = chunk;
        if let Err(error) = self.sink.follow(Instant::now()) {
            self.report(Err(error));
        }
        let outcome = self.sink.write(&bytes);
        // Saturating: a torn line may be counted twice.
        self.counts.lines.add_shared(lines.saturating_sub(outcome.lost));
        self.counts.dropped.add_shared(outcome.lost);
        self.report(outcome.result);
        bytes.clear();
        if let Some(home) = self.homes.get(worker) {
            // Fails only if the worker has ended.
            let _ = home.try_send(bytes);
        }
    }

    /// Counts an error; says so in the process log when failing begins and when it ends.
    fn report(&mut self, result: io::Result<()>) {
        match result {
            Ok(()) if self.failing => {
                self.failing = false;
                tracing::info!(lost = self.counts.dropped.get(), "access log is written again");
            }
            Ok(()) => {}
            Err(error) => {
                self.counts.errors.add_shared(1);
                if !self.failing {
                    self.failing = true;
                    tracing::warn!(%error, "access log cannot be written; lines are lost until it can");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
