//! What a reload from one configuration to another would touch, and what it would not.
//!
//! Things are known by name. What two configurations say about a thing is compared in the form they are shown in, field
//! by field, so that the difference can be told in the user's own words and nothing secret is told.

mod files;

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::decode::endpoint_text;
use crate::model::{Config, Endpoint, Listener, Route, Service};
use crate::shown;

pub use files::FileChange;

/// Settings that are read once, at start.
const RESTART: &[&str] = &[
    "runtime.workers",
    "runtime.backend",
    "runtime.pin",
    "runtime.buffers",
    "admin.address",
    "access_log.ring",
];

/// What a reload would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Diff {
    /// Settings that only a restart applies.
    pub restart: Vec<FieldChange>,
    /// Settings that the reload applies.
    pub settings: Vec<FieldChange>,
    /// Listeners it touches.
    pub listeners: Vec<ListenerChange>,
    /// Services it touches.
    pub services: Vec<ServiceChange>,
    /// Routes it touches.
    pub routes: Vec<RouteChange>,
    /// Whether routes that are in both are in another order.
    pub routes_reordered: bool,
    /// Files that hold something else, of what is in both.
    pub files: Vec<FileChange>,
    /// What it does not touch.
    pub untouched: Untouched,
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldChange {
    /// `limits.head`
    pub field: String,
    /// As the old configuration is shown; `None`: not there.
    pub from: Option<Value>,
    /// As the new configuration is shown; `None`: not there.
    pub to: Option<Value>,
}

/// A listener that is touched.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ListenerChange {
    /// Which.
    pub name: String,
    /// How.
    #[serde(flatten)]
    pub change: ListenerTouch,
}

/// How a listener is touched.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum ListenerTouch {
    /// New sockets.
    Opened {
        /// Where.
        address: String,
    },
    /// Its accept queue is served, then its sockets are closed; connections live on until they end.
    Closed {
        /// Where.
        address: String,
    },
    /// Address or socket options differ: new sockets, and the old ones are closed as above.
    Rebound {
        /// What differs.
        fields: Vec<FieldChange>,
    },
    /// The sockets stay.
    InPlace {
        /// What differs.
        fields: Vec<FieldChange>,
    },
}

/// A service that is touched.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceChange {
    /// Which.
    pub name: String,
    /// How.
    #[serde(flatten)]
    pub change: ServiceTouch,
}

/// How a service is touched.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum ServiceTouch {
    /// It is new.
    Added {
        /// Its endpoints.
        endpoints: Vec<String>,
    },
    /// It is gone, with its pools.
    Removed {
        /// Its endpoints.
        endpoints: Vec<String>,
    },
    /// It differs. Pools of endpoints that are in both live on.
    Changed {
        /// New endpoints.
        endpoints_added: Vec<String>,
        /// Gone ones; their pools are closed.
        endpoints_removed: Vec<String>,
        /// Those with another weight.
        endpoints_reweighted: Vec<String>,
        /// Those with another level, zone or labels.
        endpoints_moved: Vec<String>,
        /// Endpoints in both: their pools live on.
        pools_kept: usize,
        /// What else differs.
        fields: Vec<FieldChange>,
    },
}

/// A route that is touched.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteChange {
    /// Which.
    pub name: String,
    /// How.
    #[serde(flatten)]
    pub change: RouteTouch,
}

/// How a route is touched. What is under way ends by the old one.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum RouteTouch {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It differs.
    Changed {
        /// What differs.
        fields: Vec<FieldChange>,
    },
}

/// What a reload does not touch, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Untouched {
    /// Listeners: sockets, queues and connections.
    pub listeners: usize,
    /// Services: endpoints and pools.
    pub services: usize,
    /// Routes.
    pub routes: usize,
}

impl Diff {
    /// Whether both say the same.
    pub fn is_empty(&self) -> bool {
        let Diff { restart, settings, listeners, services, routes, routes_reordered, files, untouched: _ } =
            self;
        restart.is_empty()
            && settings.is_empty()
            && listeners.is_empty()
            && services.is_empty()
            && routes.is_empty()
            && !routes_reordered
            && files.is_empty()
    }
}

/// Compares two configurations.
pub fn diff(old: &Config, new: &Config) -> Diff {
    let mut diff = Diff::default();
    for change in settings(old, new) {
        let restart =
            RESTART.iter().any(|name| change.field == *name || change.field.starts_with(&format!("{name}.")));
        if restart { diff.restart.push(change) } else { diff.settings.push(change) }
    }
    diff.files = files::changes(old, new);
    listeners(old, new, &mut diff);
    services(old, new, &mut diff);
    routes(old, new, &mut diff);
    diff
}

fn settings(old: &Config, new: &Config) -> Vec<FieldChange> {
    let shown = |config| Value::Object(shown::settings_as_json(config));
    let mut fields = fields(&shown(old), &shown(new));
    // Passwords are not shown, and can differ all the same.
    if old.fleets != new.fleets && !fields.iter().any(|change| change.field.starts_with("fleets")) {
        fields.push(hidden("fleets"));
    }
    fields
}

fn listeners(old: &Config, new: &Config, diff: &mut Diff) {
    let before: HashMap<&str, &Listener> = old.listeners.iter().map(|one| (one.name.as_str(), one)).collect();
    let after: HashMap<&str, &Listener> = new.listeners.iter().map(|one| (one.name.as_str(), one)).collect();
    for one in old.listeners.iter().filter(|one| !after.contains_key(one.name.as_str())) {
        let change = ListenerTouch::Closed { address: crate::decode::listen_text(&one.address) };
        diff.listeners.push(ListenerChange { name: one.name.clone(), change });
    }
    for one in &new.listeners {
        let Some(was) = before.get(one.name.as_str()) else {
            let change = ListenerTouch::Opened { address: crate::decode::listen_text(&one.address) };
            diff.listeners.push(ListenerChange { name: one.name.clone(), change });
            continue;
        };
        let fields = fields(&listener_in_order(was, old), &listener_in_order(one, new));
        // What files hold is no field.
        if fields.is_empty() && was.tls == one.tls {
            diff.untouched.listeners += 1;
            continue;
        }
        let rebound = was.address != one.address || was.socket != one.socket;
        let change =
            if rebound { ListenerTouch::Rebound { fields } } else { ListenerTouch::InPlace { fields } };
        diff.listeners.push(ListenerChange { name: one.name.clone(), change });
    }
}

/// As it is shown, but with its routes by name: their order is told once, not for each listener.
fn listener_in_order(listener: &Listener, config: &Config) -> Value {
    let mut shown = shown::listener_as_json(listener, config);
    if let Some(Value::Array(routes)) = shown.get_mut("routes") {
        routes.sort_by(|one, other| one.as_str().cmp(&other.as_str()));
    }
    shown
}

fn services(old: &Config, new: &Config, diff: &mut Diff) {
    let find = |config: &'_ Config, name: &str| {
        config.services.binary_search_by(|one| one.name.as_str().cmp(name)).ok()
    };
    let texts =
        |endpoints: &[Endpoint]| endpoints.iter().map(|one| endpoint_text(&one.address)).collect::<Vec<_>>();
    for one in old.services.iter().filter(|one| find(new, &one.name).is_none()) {
        let change = ServiceTouch::Removed { endpoints: texts(&one.endpoints) };
        diff.services.push(ServiceChange { name: one.name.clone(), change });
    }
    for one in &new.services {
        let Some(was) = find(old, &one.name).and_then(|index| old.services.get(index)) else {
            let change = ServiceTouch::Added { endpoints: texts(&one.endpoints) };
            diff.services.push(ServiceChange { name: one.name.clone(), change });
            continue;
        };
        if was == one {
            diff.untouched.services += 1;
        } else {
            diff.services.push(ServiceChange { name: one.name.clone(), change: service(was, one) });
        }
    }
}

fn service(old: &Service, new: &Service) -> ServiceTouch {
    fn by_address(service: &Service) -> HashMap<String, &Endpoint> {
        service.endpoints.iter().map(|one| (endpoint_text(&one.address), one)).collect()
    }
    let (before, after) = (by_address(old), by_address(new));
    let sorted = |mut texts: Vec<String>| {
        texts.sort();
        texts
    };
    let kept = || before.iter().filter(|(text, _)| after.contains_key(*text));
    let changed = |differ: &dyn Fn(&Endpoint, &Endpoint) -> bool| {
        let changed = kept().filter(|(text, was)| after.get(*text).is_some_and(|is| differ(was, is)));
        sorted(changed.map(|(text, _)| text.clone()).collect())
    };
    let mut fields = fields(&shown::service_as_json(old), &shown::service_as_json(new));
    fields.retain(|change| change.field != "endpoints");
    let secret = |service: &Service| service.balancing.sticky.as_ref().map(|sticky| sticky.secret.clone());
    if secret(old) != secret(new) && !fields.iter().any(|change| change.field.starts_with("sticky")) {
        fields.push(hidden("sticky.secret"));
    }
    ServiceTouch::Changed {
        endpoints_added: sorted(after.keys().filter(|text| !before.contains_key(*text)).cloned().collect()),
        endpoints_removed: sorted(before.keys().filter(|text| !after.contains_key(*text)).cloned().collect()),
        endpoints_reweighted: changed(&|was, is| was.weight != is.weight),
        endpoints_moved: changed(&|was, is| was.position != is.position),
        pools_kept: kept().count(),
        fields,
    }
}

fn routes(old: &Config, new: &Config, diff: &mut Diff) {
    let before: HashMap<&str, &Route> = old.routes.iter().map(|one| (one.name.as_str(), one)).collect();
    let after: HashMap<&str, &Route> = new.routes.iter().map(|one| (one.name.as_str(), one)).collect();
    for one in old.routes.iter().filter(|one| !after.contains_key(one.name.as_str())) {
        diff.routes.push(RouteChange { name: one.name.clone(), change: RouteTouch::Removed });
    }
    for one in &new.routes {
        let Some(was) = before.get(one.name.as_str()) else {
            diff.routes.push(RouteChange { name: one.name.clone(), change: RouteTouch::Added });
            continue;
        };
        let mut fields = fields(&shown::route_as_json(was, old), &shown::route_as_json(one, new));
        // Values that are not shown can differ all the same.
        for (name, was, is) in [
            ("request_headers", &was.request_headers, &one.request_headers),
            ("response_headers", &was.response_headers, &one.response_headers),
        ] {
            if was != is && !fields.iter().any(|change| change.field.starts_with(name)) {
                fields.push(hidden(name));
            }
        }
        if was.headers != one.headers && !fields.iter().any(|change| change.field.starts_with("headers")) {
            fields.push(hidden("headers"));
        }
        if was.faults != one.faults && !fields.iter().any(|change| change.field == "faults") {
            fields.push(hidden("faults"));
        }
        if was.query != one.query && !fields.iter().any(|change| change.field.starts_with("query")) {
            fields.push(hidden("query"));
        }
        if fields.is_empty() && !diff.files.iter().any(|file| file.of == format!("route {}", one.name)) {
            diff.untouched.routes += 1;
        } else {
            diff.routes.push(RouteChange { name: one.name.clone(), change: RouteTouch::Changed { fields } });
        }
    }
    let order = |routes: &[Route], other: &HashMap<&str, &Route>| -> Vec<String> {
        routes.iter().map(|one| one.name.clone()).filter(|name| other.contains_key(name.as_str())).collect()
    };
    diff.routes_reordered = order(&old.routes, &after) != order(&new.routes, &before);
}

fn hidden(field: &str) -> FieldChange {
    let value = Some(Value::from(shown::REDACTED));
    FieldChange { field: field.to_owned(), from: value.clone(), to: value }
}

/// The leaves that differ, by path. Lists are leaves.
fn fields(old: &Value, new: &Value) -> Vec<FieldChange> {
    fn walk(old: &Map<String, Value>, new: &Map<String, Value>, path: &str, out: &mut Vec<FieldChange>) {
        let added = new.keys().filter(|name| !old.contains_key(*name));
        for name in old.keys().chain(added) {
            let field = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match (old.get(name), new.get(name)) {
                (Some(Value::Object(old)), Some(Value::Object(new))) => walk(old, new, &field, out),
                (from, to) if from != to => {
                    out.push(FieldChange { field, from: from.cloned(), to: to.cloned() });
                }
                _ => {}
            }
        }
    }
    let mut out = Vec::new();
    if let (Value::Object(old), Value::Object(new)) = (old, new) {
        walk(old, new, "", &mut out);
    }
    out
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<Value>| match value {
            None => "nothing".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        if self.from == self.to {
            return write!(f, "{}: changed (not shown)", self.field);
        }
        write!(f, "{}: {} -> {}", self.field, text(&self.from), text(&self.to))
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            writeln!(f, "nothing changes")?;
        }
        let list = |f: &mut fmt::Formatter<'_>, fields: &[FieldChange]| -> fmt::Result {
            fields.iter().try_for_each(|field| writeln!(f, "    {field}"))
        };
        if !self.restart.is_empty() {
            writeln!(f, "needs a restart (a reload leaves it as it is):")?;
            list(f, &self.restart)?;
        }
        if !self.settings.is_empty() {
            writeln!(f, "settings:")?;
            list(f, &self.settings)?;
        }
        for ListenerChange { name, change } in &self.listeners {
            match change {
                ListenerTouch::Opened { address } => writeln!(f, "listener {name}: opened on {address}")?,
                ListenerTouch::Closed { address } => writeln!(
                    f,
                    "listener {name}: closed on {address}; waiting connections are accepted first, open ones live on"
                )?,
                ListenerTouch::Rebound { fields } => {
                    writeln!(
                        f,
                        "listener {name}: bound anew; waiting connections are accepted first, open ones live on"
                    )?;
                    list(f, fields)?;
                }
                ListenerTouch::InPlace { fields } => {
                    writeln!(f, "listener {name}: changed in place; its sockets stay")?;
                    list(f, fields)?;
                }
            }
        }
        for ServiceChange { name, change } in &self.services {
            match change {
                ServiceTouch::Added { endpoints } => {
                    writeln!(f, "service {name}: added ({})", endpoints.join(", "))?
                }
                ServiceTouch::Removed { endpoints } => {
                    writeln!(f, "service {name}: removed, its pools are closed ({})", endpoints.join(", "))?;
                }
                ServiceTouch::Changed {
                    endpoints_added,
                    endpoints_removed,
                    endpoints_reweighted,
                    endpoints_moved,
                    pools_kept,
                    fields,
                } => {
                    writeln!(f, "service {name}: changed; pools of {pools_kept} endpoints live on")?;
                    for (word, endpoints) in [
                        ("added", endpoints_added),
                        ("removed, pool closed", endpoints_removed),
                        ("another weight", endpoints_reweighted),
                        ("another level, zone or labels", endpoints_moved),
                    ] {
                        endpoints.iter().try_for_each(|text| writeln!(f, "    endpoint {text}: {word}"))?;
                    }
                    list(f, fields)?;
                }
            }
        }
        for RouteChange { name, change } in &self.routes {
            match change {
                RouteTouch::Added => writeln!(f, "route {name}: added")?,
                RouteTouch::Removed => writeln!(f, "route {name}: removed")?,
                RouteTouch::Changed { fields } => {
                    writeln!(f, "route {name}: changed")?;
                    list(f, fields)?;
                }
            }
        }
        if self.routes_reordered {
            writeln!(f, "routes: in another order")?;
        }
        self.files.iter().try_for_each(|change| writeln!(f, "{change}"))?;
        let Untouched { listeners, services, routes } = self.untouched;
        writeln!(f, "not touched: {listeners} listeners, {services} services, {routes} routes")
    }
}
