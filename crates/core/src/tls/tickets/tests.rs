use super::*;

const ROTATE: Duration = Duration::from_hours(12);

fn shared(file: &str, rules: u8) -> Result<Tickets, String> {
    Tickets::shared(file.as_bytes(), [rules; 32], ROTATE)
}

fn line(byte: u8, len: usize) -> String {
    let mut out = String::new();
    base64::encode(&vec![byte; len], &mut out);
    out
}

#[test]
fn a_ticket_is_opened_by_whoever_has_its_key() {
    let (one, two) = (line(1, 48), line(2, 80));
    let old = shared(&format!("{one}\n"), 0).unwrap();
    let new = shared(&format!("# rotated\n{two}\n\n{one}\n"), 0).unwrap();
    let ticket = old.encrypt(b"session").unwrap();
    assert_eq!(new.decrypt(&ticket).unwrap(), b"session");
    // The first key encrypts, and the old node has not got it yet.
    let ticket = new.encrypt(b"session").unwrap();
    assert_eq!(old.decrypt(&ticket), None);
    assert_eq!(new.decrypt(&ticket).unwrap(), b"session");
}

#[test]
fn a_session_under_other_rules_is_not_resumed() {
    let file = line(1, 48);
    let ticket = shared(&file, 0).unwrap().encrypt(b"session").unwrap();
    assert_eq!(shared(&file, 1).unwrap().decrypt(&ticket), None);
}

#[test]
fn no_two_tickets_are_the_same_and_none_can_be_changed() {
    let tickets = shared(&line(1, 48), 0).unwrap();
    let ticket = tickets.encrypt(b"session").unwrap();
    assert_ne!(ticket, tickets.encrypt(b"session").unwrap());
    for at in 0..ticket.len() {
        let mut changed = ticket.clone();
        changed[at] ^= 1;
        assert_eq!(tickets.decrypt(&changed), None, "byte {at}");
        assert_eq!(tickets.decrypt(&ticket[..at]), None, "{at} bytes");
    }
}

#[test]
fn own_keys_roll_over_and_are_forgotten() {
    let own = OwnKeys::new(ROTATE);
    let start = Instant::now();
    let name = |keys: &Arc<Rolled>| keys.current.as_ref().unwrap().name;
    let first = name(&own.now(start));
    assert_eq!(name(&own.now(start + ROTATE / 2)), first);
    let rolled = own.now(start + ROTATE * 3 / 2);
    assert_ne!(name(&rolled), first);
    assert_eq!(rolled.previous.as_ref().unwrap().name, first);
    // After a night without a ticket nothing is left of the one before.
    let rolled = own.now(start + ROTATE * 4);
    assert!(rolled.previous.is_none());
}

#[test]
fn bad_files_are_told() {
    let twice = format!("{0}\n{0}\n", line(1, 48));
    let many: String = (0..17).map(|n| line(n, 48) + "\n").collect();
    for (file, expected) in [
        ("", "has no keys"),
        ("# nothing\n", "has no keys"),
        ("secret\n", "has no key in line 1"),
        (line(1, 32).as_str(), "has no key in line 1"),
        (twice.as_str(), "has the key of line 2 twice"),
        (many.as_str(), "has 17 keys"),
    ] {
        let error = shared(file, 0).unwrap_err();
        assert!(error.starts_with(expected), "{file}: {error}");
    }
    assert!(Tickets::shared(&[0xff; 48], [0; 32], ROTATE).is_ok());
    assert!(Tickets::shared(&[0xff; 49], [0; 32], ROTATE).is_err());
}
