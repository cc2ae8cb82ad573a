//! Challenges that authorities are about to look for, as the workers know them: all of them, whenever one comes or goes.

use std::sync::{Arc, Mutex, PoisonError};

use ringway_engine::Challenge;

/// Hands all challenges to all workers, in place of those before. Blocks until they know.
pub(crate) type Tell = Box<dyn Fn(&[Challenge]) -> Result<(), String> + Send + Sync>;

/// Those that are pending.
pub(crate) struct Pending {
    tell: Tell,
    /// Held while workers are told, so that an older set never arrives after a newer.
    all: Mutex<All>,
}

#[derive(Default)]
struct All {
    count: u64,
    challenges: Vec<(u64, Challenge)>,
}

/// A challenge that workers know of; they forget it when this is dropped.
pub(crate) struct Told {
    pending: Arc<Pending>,
    id: u64,
}

impl Pending {
    pub fn new(tell: Tell) -> Pending {
        Pending { tell, all: Mutex::default() }
    }

    /// Every worker knows once this returns.
    pub async fn add(self: &Arc<Pending>, challenge: Challenge) -> Result<Told, String> {
        let pending = self.clone();
        let told = tokio::task::spawn_blocking(move || {
            let id = {
                let mut all = pending.all.lock().unwrap_or_else(PoisonError::into_inner);
                all.count += 1;
                let id = all.count;
                all.challenges.push((id, challenge));
                id
            };
            // First, so that it is taken back whatever becomes of it.
            let told = Told { pending: pending.clone(), id };
            pending.tell().map(|()| told)
        });
        told.await.map_err(|_| "the gateway ends".to_owned())?
    }

    fn tell(&self) -> Result<(), String> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let challenges: Vec<Challenge> = all.challenges.iter().map(|(_, one)| one.clone()).collect();
        (self.tell)(&challenges)
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let (pending, id) = (self.pending.clone(), self.id);
        let forget = move || {
            let mut all = pending.all.lock().unwrap_or_else(PoisonError::into_inner);
            all.challenges.retain(|(other, _)| *other != id);
            drop(all);
            // A worker that is stuck keeps it for as long as it is.
            let _ = pending.tell();
        };
        // Not on the background thread, since it blocks; at the end of the process there is nobody to tell.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(forget);
        }
    }
}
