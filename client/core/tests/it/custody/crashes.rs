//! Crashes of custodian and recipient at chance moments: what was promised arrives, once, and
//! nothing stays behind.

use super::*;
use std::collections::BTreeSet;

/// Runs that differ in when who is killed.
const RUNS: u64 = 60;

impl Scene {
    /// Lets some time pass in which one of these may be killed and started again; whether it was.
    fn perilous(&mut self, ms: u64, who: &[NodeId]) -> bool {
        let before = self.world.chance(ms + 1);
        self.world.drive(before);
        let killed = self.world.chance(3) == 0;
        if killed {
            let one = who[self.world.chance(who.len() as u64) as usize];
            if self.world.node(one).manager.is_some() {
                self.world.crash(one);
                self.world.drive(before % 7);
            }
            self.world.start(one);
        }
        self.world.drive(ms - before);
        killed
    }

    /// Parcels with a receipt so far.
    fn promised(&self) -> BTreeSet<Vec<u8>> {
        let said = self.said.borrow();
        let receipts = said.iter().filter_map(|(_, to, item)| match item {
            Kind::StoreReceipt(receipt) if *to == self.alice => {
                Some(payload::<StoreReceipt>(receipt).parcel_id)
            }
            _ => None,
        });
        receipts.collect()
    }

    /// Carol has all that was promised, and nothing twice; how many promises that are.
    fn promises_are_kept(&self, seed: u64, texts: &BTreeMap<Vec<u8>, String>) -> u64 {
        let shown = self.world.node(self.carol).store.shown();
        let came: BTreeSet<&String> = shown.iter().collect();
        assert_eq!(
            came.len(),
            shown.len(),
            "seed {seed}: shown twice: {shown:?}"
        );
        let promised = self.promised();
        for id in &promised {
            assert!(
                came.contains(&texts[id]),
                "seed {seed}: {} is lost",
                texts[id]
            );
        }
        promised.len() as u64
    }

    /// Accounts say what the store has, once nothing is on its way.
    fn accounts_fit(&self) {
        let rows = self.world.node(self.bob).store.kept.values();
        let bytes: usize = rows.map(|row| row.parcel.len()).sum();
        assert_eq!(self.accounts(), (self.kept() as u64, bytes as u64));
    }

    /// Deposits ten parcels while the custodian is killed now and then; the texts by parcel.
    fn deposit_in_peril(&mut self) -> BTreeMap<Vec<u8>, String> {
        let mut texts = BTreeMap::new();
        let (alice, bob) = (self.alice, self.bob);
        for n in 0..10 {
            let text = n.to_string();
            let parcel = self.parcel(alice, self.carol, &text);
            texts.insert(id_of(&parcel).to_vec(), text);
            let store = StoreMessage {
                parcel,
                ticket: Vec::new(),
            };
            let store = frame(Kind::StoreMessage(store));
            // Said twice where the link holds: receipts repeat, and nothing is counted twice.
            self.world.say(alice, bob, store.clone());
            if self.perilous(40, &[bob]) {
                // Alice finds out and calls anew.
                self.world.drive(8_000);
                self.world.send(alice, "bob", "a link again");
                self.world.drive(3_000);
            }
            self.world.say(alice, bob, store);
        }
        self.world.drive(500);
        texts
    }
}

#[test]
fn whatever_was_promised_arrives_once_whoever_is_killed_when() {
    let mut promised = 0;
    for seed in 0..RUNS {
        let mut scene = Scene::new(7_000 + seed);
        let (bob, carol) = (scene.bob, scene.carol);
        scene.world.timing.commit_ms = 1 + seed % 20;
        let texts = scene.deposit_in_peril();
        scene.accounts_fit();
        scene.world.start(carol);
        for _ in 0..6 {
            scene.perilous(60, &[bob, carol]);
        }
        // Undisturbed from now on: calls in pauses of half a minute, gaps in order as long.
        scene.world.drive(10 * 60_000);
        promised += scene.promises_are_kept(seed, &texts);
        assert_eq!((scene.kept(), scene.accounts()), (0, (0, 0)), "seed {seed}");
    }
    assert!(
        promised > RUNS * 7,
        "{promised} promises are too few to tell"
    );
}

#[test]
fn whatever_was_promised_arrives_though_disks_fail() {
    for seed in 0..RUNS {
        let mut scene = Scene::new(8_000 + seed);
        let (alice, bob, carol) = (scene.alice, scene.bob, scene.carol);
        let mut texts = BTreeMap::new();
        for n in 0..10 {
            let text = n.to_string();
            let parcel = scene.parcel(alice, carol, &text);
            texts.insert(id_of(&parcel).to_vec(), text);
            let failing = scene.world.chance(3) as u32;
            scene.world.node_mut(bob).failing_writes = failing;
            scene.deposit(alice, &parcel);
            scene.world.drive(20);
        }
        scene.world.node_mut(bob).failing_writes = 0;
        scene.world.drive(100);
        scene.accounts_fit();
        assert_eq!(scene.promised().len(), scene.kept());
        scene.world.start(carol);
        for _ in 0..8 {
            for id in [bob, carol] {
                let failing = scene.world.chance(3) as u32;
                scene.world.node_mut(id).failing_writes = failing;
            }
            scene.world.drive(30);
        }
        for id in [bob, carol] {
            scene.world.node_mut(id).failing_writes = 0;
        }
        scene.world.drive(5 * 60_000);
        scene.promises_are_kept(seed, &texts);
        scene.accounts_fit();
    }
}
