//! Tables of routes and requests, and a naive matcher that the router must agree with.

use proptest::prelude::*;

use super::*;

#[test]
fn the_most_specific_host_and_path_wins() {
    let routes = [
        "0: /**",
        "1: api.example.com /**",
        "2: *.example.com /**",
        "3: *.api.example.com /**",
        "4: api.example.com /a/**",
        "5: api.example.com /a/b/**",
        "6: api.example.com /a/{x}",
        "7: api.example.com /a/b",
        "8: api.example.com /a/{x}/c",
        "9: api.example.com /a/b/{y}",
        "10: api.example.com /t/{x}/**",
        "11: api.example.com /t/lit/**",
    ];
    for (host, path, won) in [
        ("other.org", "/a/b", Some(0)),
        ("", "/", Some(0)),
        ("example.com", "/", Some(0)),
        ("API.Example.COM:8080", "/", Some(1)),
        ("api.example.com.", "/zzz", Some(1)),
        ("x.example.com", "/", Some(2)),
        ("x.y.example.com", "/", Some(2)),
        ("x.api.example.com", "/", Some(3)),
        ("xapi.example.com", "/", Some(2)),
        ("api.example.com", "/a", Some(4)),
        ("api.example.com", "/a/", Some(4)),
        ("api.example.com", "/ab", Some(1)),
        ("api.example.com", "/a/z/z", Some(4)),
        ("api.example.com", "/a/b/z/z", Some(5)),
        ("api.example.com", "/a/b/", Some(5)),
        ("api.example.com", "/a/z", Some(6)),
        ("api.example.com", "/a/b", Some(7)),
        ("api.example.com", "/a/z/c", Some(8)),
        ("api.example.com", "/a/b/c", Some(9)),
        ("api.example.com", "/t/one/two", Some(10)),
        ("api.example.com", "/t/one", Some(10)),
        ("api.example.com", "/t/lit/two", Some(11)),
        ("api.example.com", "/t", Some(1)),
        ("api.example.com", "*", Some(1)),
        ("api.example.com", "", Some(1)),
    ] {
        assert_eq!(
            won_by(&routes, host, path, "GET", "", &[]),
            won.ok_or(NoMatch::NotFound),
            "{host} {path}"
        );
    }
}

#[test]
fn a_template_falls_back_to_the_parameter_when_the_literal_leads_nowhere() {
    let routes = ["0: /a/b/x", "1: /{p}/b/{q}/y", "2: /a/{p}/{q}/z", "3: /{p}/{q}/c/{r}"];
    for (path, won) in [
        ("/a/b/c/y", Some(1)),
        ("/a/b/c/z", Some(2)),
        ("/a/b/c/w", Some(3)),
        ("/a/b/d/w", None),
        ("/a/b/x", Some(0)),
    ] {
        assert_eq!(won_by(&routes, "h", path, "GET", "", &[]), won.ok_or(NoMatch::NotFound), "{path}");
    }
}

#[test]
fn conditions_decide_and_leave_the_request_to_less_specific_routes() {
    let routes = [
        "0: /**",
        "1: h /o/** methods=GET,POST",
        "2: h /o/** headers=x-tenant=acme",
        "3: h /o/** headers=x-tenant=acme,x-beta",
        "4: h /o/** query=v=2",
        "5: h /o/** methods=GET headers=x-beta",
    ];
    for (method, query, headers, won) in [
        ("GET", "", &[][..], 1),
        ("PUT", "", &[], 0),
        ("PUT", "", &[("X-Tenant", "acme")], 2),
        ("PUT", "", &[("X-Tenant", "other")], 0),
        ("PUT", "", &[("X-Tenant", "other"), ("x-tenant", "acme")], 2),
        ("PUT", "", &[("x-tenant", "acme"), ("X-Beta", "")], 3),
        ("PUT", "a=1&v=2", &[], 4),
        ("PUT", "v=2", &[("x-tenant", "acme")], 2),
        ("GET", "v=2", &[("x-beta", "1"), ("x-tenant", "acme")], 5),
    ] {
        assert_eq!(
            won_by(&routes, "h", "/o/1", method, query, headers),
            Ok(won),
            "{method} {query} {headers:?}"
        );
    }
}

#[test]
fn method_not_allowed_lists_only_routes_that_fail_in_nothing_else() {
    let routes = [
        "0: h /o methods=GET,PURGE",
        "1: /o methods=POST",
        "2: h /o methods=PUT headers=x-tenant",
        "3: other /o methods=DELETE",
        "4: h /only methods=PUT headers=x-tenant",
    ];
    let not_allowed = |allow: &str| Err(NoMatch::MethodNotAllowed { allow: allow.into() });
    assert_eq!(won_by(&routes, "h", "/o", "PATCH", "", &[]), not_allowed("GET, PURGE, POST"));
    let tenant = &[("x-tenant", "a")];
    assert_eq!(won_by(&routes, "h", "/o", "PATCH", "", tenant), not_allowed("PUT, GET, PURGE, POST"));
    assert_eq!(won_by(&routes, "h", "/o", "PURGE", "", &[]), Ok(0));
    assert_eq!(won_by(&routes, "h", "/o", "get", "", &[]), not_allowed("GET, PURGE, POST"));
    assert_eq!(won_by(&routes, "h", "/only", "GET", "", &[]), Err(NoMatch::NotFound));
}

#[test]
fn get_does_not_admit_head() {
    let found = won_by(&["0: /a methods=GET"], "h", "/a", "HEAD", "", &[]);
    assert_eq!(found, Err(NoMatch::MethodNotAllowed { allow: "GET".into() }));
}

#[test]
fn a_host_of_dots_costs_no_more_than_its_common_labels() {
    let routes = ["0: *.a.a /**", "1: /**"];
    assert_eq!(won_by(&routes, &"a.".repeat(120), "/", "GET", "", &[]), Ok(0));
    assert_eq!(won_by(&routes, &"a.".repeat(4000), "/", "GET", "", &[]), Ok(1));
    assert_eq!(won_by(&routes, ".a.a", "/", "GET", "", &[]), Ok(1));
    assert_eq!(won_by(&routes, "a.a", "/", "GET", "", &[]), Ok(1));
}

#[test]
fn deep_paths_need_no_stack() {
    let deep = "/a".repeat(20_000);
    let routes = [format!("0: {deep}/**"), "1: /a/**".to_owned(), format!("2: {deep}/{{x}}")];
    let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
    assert_eq!(won_by(&routes, "h", &format!("{deep}/x/y"), "GET", "", &[]), Ok(0));
    assert_eq!(won_by(&routes, "h", &format!("{deep}/x"), "GET", "", &[]), Ok(2));
    assert_eq!(won_by(&routes, "h", &deep[2..], "GET", "", &[]), Ok(1));
}

fn won_by(
    routes: &[&str],
    host: &str,
    path: &str,
    method: &str,
    query: &str,
    headers: &[(&str, &str)],
) -> Result<u32, NoMatch> {
    let rules: Vec<RouteRule> = routes.iter().map(|text| rule(text)).collect();
    let request = RouteQuery {
        host: host.as_bytes(),
        path: path.as_bytes(),
        query: query.as_bytes(),
        method: method.as_bytes(),
    };
    Router::new(&rules).route(&request, headers).map(|matched| matched.route.0)
}

/// `7: [host] /path [methods=A,B] [headers=n=v,n] [query=n=v,n]`
fn rule(text: &str) -> RouteRule {
    let (id, rest) = text.split_once(": ").unwrap();
    let mut rule = RouteRule {
        route: RouteId(id.parse().unwrap()),
        hosts: vec![],
        path: path_rule("/**"),
        methods: vec![],
        headers: vec![],
        query: vec![],
    };
    let conditions = |text: &str| text.split(',').map(condition).collect();
    for word in rest.split(' ') {
        match word.split_once('=') {
            Some(("methods", list)) => rule.methods = list.split(',').map(str::to_owned).collect(),
            Some(("headers", list)) => rule.headers = conditions(list),
            Some(("query", list)) => rule.query = conditions(list),
            _ if word.starts_with('/') => rule.path = path_rule(word),
            _ => rule.hosts.push(match word.strip_prefix("*.") {
                Some(suffix) => HostRule::Suffix(suffix.into()),
                None => HostRule::Exact(word.into()),
            }),
        }
    }
    rule
}

fn condition(text: &str) -> Condition {
    match text.split_once('=') {
        Some((name, value)) => Condition { name: name.into(), value: Some(value.into()) },
        None => Condition { name: text.into(), value: None },
    }
}

pub(super) fn path_rule(text: &str) -> PathRule {
    let segments = segments(text);
    match segments.iter().all(|s| matches!(s, Segment::Literal(_))) {
        true => PathRule::Exact(text.into()),
        false => PathRule::Segments(segments),
    }
}

pub(super) fn segments(text: &str) -> Vec<Segment> {
    let segment = |piece: &str| match piece.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
        Some(name) => Segment::Parameter(name.into()),
        None if piece == "**" => Segment::Rest,
        None => Segment::Literal(piece.into()),
    };
    text.split('/').skip(1).map(segment).collect()
}

/// The precedence as prose says it: score every route on its own, sort, take the first that admits the request.
mod naive {
    use super::*;

    pub fn route(
        rules: &[RouteRule],
        request: &RouteQuery<'_>,
        headers: &[(String, String)],
    ) -> Result<(u32, String), NoMatch> {
        let host = String::from_utf8_lossy(request.host).to_lowercase();
        let path = std::str::from_utf8(request.path).unwrap();
        let mut fitting = Vec::new();
        for (order, rule) in rules.iter().enumerate() {
            if let (Some(host), Some((score, rest))) = (host_score(rule, &host), path_score(&rule.path, path))
            {
                let count = |c: &[Condition]| (c.len(), c.iter().filter(|c| c.value.is_some()).count());
                let conditions = (count(&rule.headers), count(&rule.query));
                let key = (host, score, !rule.methods.is_empty(), conditions, std::cmp::Reverse(order));
                fitting.push((key, rule, rest));
            }
        }
        fitting.sort_by(|a, b| b.0.cmp(&a.0));
        fitting.retain(|(_, rule, _)| conditions_hold(rule, request, headers));
        let method = String::from_utf8_lossy(request.method).into_owned();
        let admits = |rule: &RouteRule| rule.methods.is_empty() || rule.methods.contains(&method);
        if let Some((_, rule, rest)) = fitting.iter().find(|(_, rule, _)| admits(rule)) {
            return Ok((rule.route.0, rest.clone()));
        }
        let mut allow: Vec<String> = fitting.iter().flat_map(|(_, rule, _)| rule.methods.clone()).collect();
        allow.sort();
        allow.dedup();
        match allow.is_empty() {
            true => Err(NoMatch::NotFound),
            false => Err(NoMatch::MethodNotAllowed { allow: allow.join(", ") }),
        }
    }

    /// Exact hosts score most, then suffixes by length, then any; a route with several hosts takes its best.
    fn host_score(rule: &RouteRule, host: &str) -> Option<usize> {
        let score = |pattern: &HostRule| match pattern {
            HostRule::Exact(name) => (name == host).then_some(usize::MAX),
            HostRule::Suffix(suffix) => {
                let before = host.strip_suffix(suffix.as_str())?.strip_suffix('.')?;
                (!before.is_empty()).then_some(suffix.len())
            }
        };
        if rule.hosts.is_empty() { Some(0) } else { rule.hosts.iter().filter_map(score).max() }
    }

    /// Kind, then segments from the left: 2 is a literal, 1 a parameter; a longer list is greater.
    fn path_score(rule: &PathRule, path: &str) -> Option<((u8, Vec<u8>), String)> {
        let segments = match rule {
            PathRule::Exact(exact) => return (exact == path).then_some(((3, vec![]), String::new())),
            PathRule::Segments(segments) => segments,
        };
        let pieces: Vec<&str> = path.split('/').skip(1).collect();
        let is_prefix = segments.last() == Some(&Segment::Rest);
        let fixed = segments.len() - usize::from(is_prefix);
        if pieces.len() < fixed || (!is_prefix && pieces.len() != fixed) {
            return None;
        }
        let mut score = Vec::new();
        for (segment, piece) in segments[..fixed].iter().zip(&pieces) {
            score.push(match segment {
                Segment::Literal(text) if text == piece => 2,
                Segment::Parameter(_) if !piece.is_empty() => 1,
                _ => return None,
            });
        }
        let rest = pieces[fixed..].iter().map(|piece| format!("/{piece}")).collect();
        Some(((if is_prefix { 1 } else { 2 }, score), rest))
    }

    fn conditions_hold(rule: &RouteRule, request: &RouteQuery<'_>, headers: &[(String, String)]) -> bool {
        let query = String::from_utf8_lossy(request.query).into_owned();
        let pairs: Vec<(String, String)> = query
            .split('&')
            .filter_map(|p| p.split_once('='))
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect();
        let holds = |pairs: &[(String, String)], c: &Condition| {
            pairs.iter().any(|(n, v)| *n == c.name && c.value.as_ref().is_none_or(|want| want == v))
        };
        rule.headers.iter().all(|c| holds(headers, c)) && rule.query.iter().all(|c| holds(&pairs, c))
    }
}

fn any_host() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["x.org", "a.x.org", "b.a.x.org", "c.b.a.x.org", "org", "y.net", "a.y.net"])
        .prop_map(str::to_owned)
}

fn any_conditions() -> impl Strategy<Value = Vec<Condition>> {
    let value = prop::option::of(prop::sample::select(vec!["1".to_owned(), "2".to_owned()]));
    let all = prop::collection::vec((prop::sample::select(vec!["p", "q"]), value), 0..3);
    prop_oneof![2 => Just(vec![]).boxed(), 1 => all.prop_map(|list| {
        let mut list: Vec<_> =
            list.into_iter().map(|(name, value)| Condition { name: name.into(), value }).collect();
        list.dedup_by(|a, b| a.name == b.name);
        list
    }).boxed()]
}

fn any_methods() -> impl Strategy<Value = Vec<String>> {
    let method = prop::sample::select(vec!["GET", "POST", "PURGE"]).prop_map(str::to_owned);
    prop_oneof![2 => Just(vec![]).boxed(), 1 => prop::collection::vec(method, 1..3).boxed()]
}

fn any_rule() -> impl Strategy<Value = RouteRule> {
    let segment = prop_oneof![3 => Just("a"), 3 => Just("b"), 2 => Just("{x}"), 1 => Just("")];
    let path = (prop::collection::vec(segment, 0..4), any::<bool>()).prop_map(|(segments, is_prefix)| {
        let text: String = segments.iter().map(|s| format!("/{s}")).collect();
        match is_prefix {
            true => path_rule(&format!("{text}/**")),
            false if text.is_empty() => path_rule("/"),
            false => path_rule(&text),
        }
    });
    let host = (any::<bool>(), any_host()).prop_map(|(exact, host)| match exact {
        true => HostRule::Exact(host),
        false => HostRule::Suffix(host),
    });
    let hosts = prop::collection::vec(host, 0..3);
    (hosts, path, any_methods(), any_conditions(), any_conditions()).prop_map(
        |(hosts, path, methods, headers, query)| RouteRule {
            route: RouteId(0),
            hosts,
            path,
            methods,
            headers,
            query,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_router_agrees_with_a_naive_matcher(
        mut rules in prop::collection::vec(any_rule(), 0..24),
        requests in prop::collection::vec((
            any_host(),
            prop::collection::vec(prop::sample::select(vec!["a", "b", "c", ""]), 1..5),
            prop::sample::select(vec!["GET", "POST", "HEAD", "PURGE"]),
            prop::collection::vec(("[pq]", "[12]"), 0..3),
            prop::collection::vec(("[pq]", "[12]"), 0..3),
        ), 1..12),
    ) {
        for (place, rule) in rules.iter_mut().enumerate() {
            rule.route = RouteId(place as u32);
        }
        let router = Router::new(&rules);
        for (host, pieces, method, headers, query) in requests {
            let path: String = pieces.iter().map(|p| format!("/{p}")).collect();
            let query = query.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join("&");
            let request = RouteQuery {
                host: host.as_bytes(),
                path: path.as_bytes(),
                query: query.as_bytes(),
                method: method.as_bytes(),
            };
            let found = match router.route(&request, &headers[..]) {
                Ok(matched) => {
                    let rest = String::from_utf8(matched.rest(path.as_bytes()).to_vec()).unwrap();
                    Ok((matched.route.0, rest))
                }
                Err(NoMatch::MethodNotAllowed { allow }) => {
                    let mut allow: Vec<&str> = allow.split(", ").collect();
                    allow.sort_unstable();
                    Err(NoMatch::MethodNotAllowed { allow: allow.join(", ") })
                }
                Err(NoMatch::NotFound) => Err(NoMatch::NotFound),
            };
            prop_assert_eq!(found, naive::route(&rules, &request, &headers), "{} {} {}", method, host, path);
        }
    }
}
