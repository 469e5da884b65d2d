//! One word for one thing: names that were given up stay given up.

use std::collections::BTreeMap;

use syn::visit::{self, Visit};

use super::source::sources;

/// Names of types and functions that nothing has any more, each with the word that is used for it.
const GIVEN_UP: [(&str, &str); 35] = [
    ("Appetite", "FetchLimits"),
    ("Bench", "Harness"),
    ("Chance", "SeededRng"),
    ("Crowd", "AddressSlots"),
    ("Dice", "SeededRng"),
    ("FarSide", "Endpoint"),
    ("Finding", "RejectedItems, CheckResult"),
    ("Findings", "Verified"),
    ("Guarded", "DeadlineStream"),
    ("Held", "SlotGuard"),
    ("House", "Harness"),
    ("Keep", "AppendLines"),
    ("Keeper", "LineLog"),
    ("Naps", "Coalescing"),
    ("Outlet", "Mailbox"),
    ("Outlets", "Mailboxes"),
    ("Own", "SelfMetrics"),
    ("Parcel", "Envelope"),
    ("Passage", "InFlight"),
    ("Seat", "ConnectionSlot, ReceiverState"),
    ("SeatCounters", "ConnectionCounters"),
    ("SeatLimits", "ConnectionLimits"),
    ("Seats", "ConnectionLimiter"),
    ("Surroundings", "Environment, Runtime"),
    ("Trouble", "DeliveryError"),
    ("Yard", "Harness"),
    ("bury", "dead_letter"),
    ("displace", "evict"),
    ("halves", "bisect"),
    ("names", "pseudonymizer, file_names"),
    ("said", "reported"),
    ("silence", "no_response"),
    ("tell", "notify"),
    ("told", "logged"),
    ("words", "detail"),
];

#[test]
fn names_that_were_given_up_are_not_used() {
    let given_up = BTreeMap::from(GIVEN_UP);
    let mut used = Vec::new();
    for source in sources() {
        let mut names = Names::default();
        names.visit_file(&source.code);
        let found = names.0.iter().filter_map(|name| Some((name, given_up.get(name.as_str())?)));
        used.extend(found.map(|(name, word)| format!("{}: {name}, now {word}", source.path)));
    }
    assert!(used.is_empty(), "{}", used.join("\n"));
}

/// The names of all types and functions that a file has.
#[derive(Default)]
struct Names(Vec<String>);

impl<'ast> Visit<'ast> for Names {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.0.push(item.ident.to_string());
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.0.push(item.ident.to_string());
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.0.push(item.ident.to_string());
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.0.push(item.ident.to_string());
        visit::visit_item_trait(self, item);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.0.push(signature.ident.to_string());
    }
}
