//! What is written of `ldap_auth`.

use std::num::NonZeroU32;
use std::path::PathBuf;

use gatehouse_core::config::{Secret, Span, Template};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::auth::forwarded;

/// Finds out who calls by a name and a password that a directory knows (LDAP, Active Directory).
///
/// The password is checked by a bind: as the entry that `bind` makes of the name, or as the one that `search` finds. Names
/// are escaped wherever they are put, so that none can change what is asked; an empty password is refused
/// without asking, because a directory takes a bind without one for no bind at all.
///
/// The caller is called by the attribute `subject` of the entry, not by what was typed: to a directory `ann` and `ANN` are
/// the same. Other attributes and groups become claims, so that `access` can ask for them, and for groups by `roles`.
///
/// A password that was good is known for `remember`. Put a `rate_limit` by `client_ip` before it, so that nobody can try
/// passwords for long. If the directory does not answer, requests get `503` (`auth_unavailable`): nobody is
/// let in unchecked; after several such failures it is left alone for two seconds at a time. The same if it answers one
/// question with more than 1 MiB: only the attributes that are named here are asked for, and 1000 groups at most, those
/// beyond are not the caller's.
///
/// A request without a password is answered with 401 `Authentication required`, one with a wrong one with 401
/// `Invalid username or password`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LdapAuth {
    /// Where the directory is: `ldaps://ldap.example.com`, or `ldap://ldap.example.com` with `start_tls`.
    pub url: String,
    /// Begins TLS on a connection of `ldap://`, before anything else is said.
    #[serde(default)]
    pub start_tls: bool,
    /// Whether passwords may go to the directory in the clear. On this machine they always may.
    #[serde(default)]
    pub allow_plain: bool,
    /// A file of certificates in PEM: the authorities that the directory's certificate must be from. Absent: those of
    /// the system.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// The entry of a name, such as `uid=${username},ou=people,dc=example,dc=org`. Either this or `search`.
    #[serde(default)]
    pub bind: Option<String>,
    /// How the entry of a name is found.
    #[serde(default)]
    pub search: Option<Search>,
    /// The attribute that names the caller. If the entry has none, it is the name as typed, in lower case.
    #[serde(default = "LdapAuth::uid")]
    pub subject: String,
    /// Attributes of the entry that become claims, by their names: a text, or a list if there are several values.
    #[serde(default)]
    pub attributes: Vec<String>,
    /// How groups are found; absent: they are not looked for.
    #[serde(default)]
    pub groups: Option<Groups>,
    /// What browsers call the place when they ask for the password.
    #[serde(default = "LdapAuth::api")]
    pub realm: String,
    /// The time for connecting, TLS included.
    #[serde(default = "LdapAuth::three_seconds")]
    pub connect_timeout: Span,
    /// The time for all that is asked about one password, the wait for a connection included.
    #[serde(default = "LdapAuth::five_seconds")]
    pub timeout: Span,
    /// How many passwords are asked about at once. As many connections are kept, twice as many with `search`.
    #[serde(default = "LdapAuth::eight")]
    pub connections: NonZeroU32,
    /// How many requests may wait for that; others get `503`.
    #[serde(default = "LdapAuth::sixty_four")]
    pub queue: u32,
    /// How long a password that was good is known: so long one that was changed works on. `0s`: never.
    #[serde(default = "LdapAuth::a_minute")]
    pub remember: Span,
    /// How many passwords are known at most, as keyed hashes.
    #[serde(default = "LdapAuth::ten_thousand")]
    pub cache: u32,
    /// Whether callers that are no consumers (`credentials.subjects`) get `403`.
    #[serde(default)]
    pub require_consumer: bool,
    /// Fields of the request that tell the upstream who calls; those without a value are not sent. From clients they
    /// are taken off, on every route.
    #[serde(default = "forwarded")]
    pub forward: IndexMap<String, Template>,
    /// Takes the password off the request, so that the upstream does not see it.
    #[serde(default = "LdapAuth::yes")]
    pub hide_credential: bool,
    /// The consumer that callers are who show no password. Absent: they are refused.
    #[serde(default)]
    pub anonymous: Option<String>,
}

/// How the entry of a name is found.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// Below which entry.
    pub base: String,
    /// Which one: `(uid=${username})`. It must be one alone.
    pub filter: String,
    /// How deep.
    #[serde(default)]
    pub scope: Depth,
    /// As whom: the name of an entry. Absent: as nobody.
    #[serde(default)]
    pub bind_dn: Option<String>,
    /// Its password.
    #[serde(default)]
    pub bind_password: Option<Secret>,
}

/// How deep a search goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Depth {
    /// All that is below.
    #[default]
    Subtree,
    /// What is directly below.
    OneLevel,
}

/// How groups are found.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Groups {
    /// The attribute of the caller's entry that lists them.
    pub attribute: String,
    /// Which entries are the caller's groups, if they are searched for instead:
    /// `(&(objectClass=groupOfNames)(member=${dn}))`; `${username}` is the name as typed.
    pub filter: Option<String>,
    /// The entry below which groups count; others mean nothing. Needed with `filter`.
    pub base: Option<String>,
    /// The claim that lists them.
    pub claim: String,
    /// What a group is called.
    pub names: GroupNames,
}

/// What a group is called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GroupNames {
    /// By the first part of its name: `ops` for `cn=ops,ou=groups,dc=example,dc=org`. Where several people may make
    /// groups, set `base`.
    #[default]
    Short,
    /// By its whole name, as the directory writes it.
    Full,
}

impl Default for Groups {
    fn default() -> Self {
        Self {
            attribute: "memberOf".to_owned(),
            filter: None,
            base: None,
            claim: "roles".to_owned(),
            names: GroupNames::Short,
        }
    }
}

impl LdapAuth {
    fn uid() -> String {
        "uid".to_owned()
    }

    fn api() -> String {
        "api".to_owned()
    }

    fn three_seconds() -> Span {
        Span::from_secs(3)
    }

    fn five_seconds() -> Span {
        Span::from_secs(5)
    }

    fn a_minute() -> Span {
        Span::from_secs(60)
    }

    fn eight() -> NonZeroU32 {
        NonZeroU32::MIN.saturating_add(7)
    }

    fn sixty_four() -> u32 {
        64
    }

    fn ten_thousand() -> u32 {
        10_000
    }

    fn yes() -> bool {
        true
    }
}
