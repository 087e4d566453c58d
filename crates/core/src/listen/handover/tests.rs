use super::*;

const OPTIONS: socket::Options = socket::Options {
    backlog: 16,
    unix_mode: None,
};

fn at(text: &str) -> Address {
    text.parse().expect("an address")
}

fn handed(role: Option<Role>, name: &str, written: &str) -> (Handed, Address) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let real = Address::Tcp(listener.local_addr().expect("address"));
    (Handed::tcp(role, name.to_owned(), at(written), listener), real)
}

fn took(inherited: &mut Inherited, role: Role, name: &str, address: &str) -> Option<Address> {
    let taken = inherited
        .take(role, name, &at(address), OPTIONS)?
        .expect("usable");
    Some(taken.bound.address().expect("address"))
}

#[test]
fn a_listener_finds_its_socket_by_its_written_address_even_under_another_name() {
    let (a, real_a) = handed(Some(Role::Listener), "a", "127.0.0.1:1");
    let (b, real_b) = handed(Some(Role::Listener), "b", "127.0.0.1:2");
    let mut inherited = Inherited::new(vec![a, b]);
    assert_eq!(
        took(&mut inherited, Role::Listener, "renamed", "127.0.0.1:2"),
        Some(real_b)
    );
    assert_eq!(took(&mut inherited, Role::Listener, "b", "127.0.0.1:3"), None);
    assert_eq!(took(&mut inherited, Role::Admin, "a", "127.0.0.1:1"), None);
    assert_eq!(inherited.left().count(), 1);
    assert_eq!(
        took(&mut inherited, Role::Listener, "a", "127.0.0.1:1"),
        Some(real_a)
    );
}

#[test]
fn listeners_at_any_free_port_are_told_apart_by_name() {
    let (a, real) = handed(Some(Role::Listener), "a", "127.0.0.1:0");
    let mut inherited = Inherited::new(vec![a]);
    assert_eq!(took(&mut inherited, Role::Listener, "b", "127.0.0.1:0"), None);
    assert_eq!(
        took(&mut inherited, Role::Listener, "a", "127.0.0.1:0"),
        Some(real)
    );
}

#[test]
fn a_supervisors_socket_is_found_by_address_or_else_by_name() {
    let (a, real_a) = handed(None, "web", "127.0.0.1:1");
    let (b, real_b) = handed(None, "unknown", "127.0.0.1:2");
    let mut inherited = Inherited::new(vec![a, b]);
    assert_eq!(
        took(&mut inherited, Role::Admin, "admin", "127.0.0.1:2"),
        Some(real_b)
    );
    assert_eq!(
        took(&mut inherited, Role::Listener, "web", "127.0.0.1:0"),
        Some(real_a)
    );
    assert_eq!(inherited.left().count(), 0);
}

#[test]
fn the_file_of_a_unix_socket_is_ours_only_once_it_is_put_to_work() {
    let path = std::env::temp_dir().join(format!("gatehouse-handover-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).expect("bound");
    let address = Address::Unix(path.clone());
    let hand = |to_own| {
        let listener = listener.try_clone().expect("handle");
        let handed = Handed::unix(Some(Role::Listener), "s".to_owned(), &path, listener, to_own);
        let taken = Inherited::new(vec![handed]).take(Role::Listener, "s", &address, OPTIONS);
        taken.expect("found").expect("usable").bound
    };
    drop(hand(true));
    let supervisors = hand(false);
    supervisors.own_file();
    drop(supervisors);
    assert!(path.exists());

    let ours = hand(true);
    ours.own_file();
    drop(ours);
    assert!(!path.exists());
}
