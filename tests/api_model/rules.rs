//! The rules of a namespace that one client has for itself. It holds no keys: what rules do is tested
//! elsewhere, and here that each change of them is there, whatever happens to the server.

use crate::draw::NAMESPACES;
use crate::model::ensure;
use crate::support::Random;
use shardkeep::proto::v1;

/// What is changed: each has its place in the mask.
const PATHS: [&str; 5] = [
    "options.overwrite",
    "options.default_ttl",
    "options.value_size_max",
    "options.compress",
    "options.dedup",
];

/// The rules that the namespace should have.
#[derive(Debug, Clone)]
pub struct Rules {
    pub options: v1::NamespaceOptions,
    /// What a change would make of them that was not answered.
    pub pending: Option<v1::NamespaceOptions>,
    /// The version of their last change, once it was told.
    version: Option<u64>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            options: whole(v1::NamespaceOptions::default()),
            pending: None,
            version: None,
        }
    }
}

/// The namespace of a client, by what its keys begin with.
pub fn name_of(prefix: &[u8]) -> String {
    let number = String::from_utf8_lossy(prefix);
    format!("of-{}", number.trim_end_matches('/'))
}

/// A request that changes some of the rules.
pub fn update(random: &mut Random, name: String) -> v1::UpdateNamespaceRequest {
    let mut some = |value| random.percent(60).then_some(value);
    let options = v1::NamespaceOptions {
        overwrite: some(false),
        compress: some(false),
        dedup: some(false),
        default_ttl: some(true).map(|_| prost_types::Duration {
            seconds: 7,
            nanos: 1_000_000,
        }),
        value_size_max: random.within(0..3) * 1000,
        ..v1::NamespaceOptions::default()
    };
    let mut paths = PATHS.map(str::to_owned).to_vec();
    paths.retain(|_| random.percent(50));
    v1::UpdateNamespaceRequest {
        namespace: Some(v1::Namespace {
            name,
            options: Some(options),
            ..v1::Namespace::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths }),
    }
}

impl Rules {
    /// The rules after a change; a mask without a name is refused.
    pub fn changed(
        &self,
        request: &v1::UpdateNamespaceRequest,
    ) -> Result<v1::NamespaceOptions, &'static str> {
        let asked = request.namespace.as_ref().and_then(|it| it.options);
        let asked = whole(asked.unwrap_or_default());
        let mask = request.update_mask.as_ref().map(|mask| &mask.paths[..]);
        let mut options = self.options;
        for path in mask.unwrap_or_default() {
            match path.as_str() {
                "options.overwrite" => options.overwrite = asked.overwrite,
                "options.default_ttl" => options.default_ttl = asked.default_ttl,
                "options.value_size_max" => options.value_size_max = asked.value_size_max,
                "options.compress" => options.compress = asked.compress,
                _ => options.dedup = asked.dedup,
            }
        }
        match mask.is_none_or(<[_]>::is_empty) {
            true => Err("UPDATE_MASK_EMPTY"),
            false => Ok(options),
        }
    }

    /// A change was answered with the namespace as it is now.
    pub fn change(&mut self, options: v1::NamespaceOptions, told: &v1::Namespace) {
        self.options = options;
        self.version = Some(told.version);
    }

    /// Whether the namespace was told as it is; a change that was not answered is done or not since.
    pub fn check(&mut self, name: &str, told: &v1::Namespace) -> Result<(), String> {
        if let Some(pending) = self.pending.take()
            && told.options == Some(pending)
        {
            self.options = pending;
            self.version = Some(told.version).filter(|now| Some(*now) >= self.version);
        }
        let version = *self.version.get_or_insert(told.version);
        self.expect(name, told, version)
    }

    /// Whether a list of all namespaces is in order and has this one and those of all.
    pub fn check_list(&mut self, name: &str, told: &[v1::Namespace]) -> Result<(), String> {
        let names: Vec<&str> = told.iter().map(|it| &*it.name).collect();
        ensure!(names.is_sorted_by(|one, next| one < next), "{names:?}");
        for name in NAMESPACES[1..].iter().chain(&["default"]) {
            ensure!(names.contains(name), "{name} is not in {names:?}");
        }
        let own = told.iter().find(|it| it.name == name);
        self.check(name, own.ok_or("this client's is not listed")?)
    }

    fn expect(&self, name: &str, told: &v1::Namespace, version: u64) -> Result<(), String> {
        let expected = v1::Namespace {
            name: name.to_owned(),
            options: Some(self.options),
            create_time: told.create_time,
            version,
            counts: Some(v1::NamespaceCounts::default()),
        };
        ensure!(*told == expected, "{told:?}, not {expected:?}");
        ensure!(told.create_time.is_some(), "nobody made {name}");
        Ok(())
    }
}

/// What is not said is as usual.
fn whole(options: v1::NamespaceOptions) -> v1::NamespaceOptions {
    v1::NamespaceOptions {
        key_mode: v1::KeyMode::User.into(),
        overwrite: options.overwrite.or(Some(true)),
        compress: options.compress.or(Some(true)),
        dedup: options.dedup.or(Some(true)),
        ..options
    }
}
