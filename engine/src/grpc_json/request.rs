//! A call's messages out of path, query and body.
//!
//! All three become one JSON object, which is then read as the message: so that the rules of JSON for Protocol Buffers
//! hold for what stands in a path as for what stands in a body.

use prost::Message;
use prost_reflect::{DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use super::{Body, Call, Problem, template};

/// Messages in one request.
const MESSAGES_MAX: usize = 10_000;
/// Parameters in one query.
const PARAMETERS_MAX: usize = 1000;
/// How deep a parameter's field may lie.
const DEPTH_MAX: usize = 16;

pub(super) fn messages(call: &Call<'_>, query: &[u8], body: &[u8]) -> Result<Vec<u8>, Problem> {
    let input = call.method().input();
    let mut out = Vec::new();
    for value in bodies(call, body)? {
        let mut object = match (&call.binding.body, value) {
            (Body::None, _) => Map::new(),
            (Body::All, None) => Map::new(),
            (Body::All, Some(Value::Object(object))) => object,
            (Body::All, Some(_)) => return Err(Problem::invalid("the body is no JSON object")),
            (Body::Field(_), None) => Map::new(),
            (Body::Field(field), Some(value)) => Map::from_iter([(field.json_name().to_owned(), value)]),
        };
        // With the body standing for all fields there are no parameters (google.api.http).
        if !matches!(call.binding.body, Body::All) {
            parameters(call, &input, query, &mut object)?;
        }
        for (field, text) in &call.captures {
            put(&mut object, &input, field, text)?;
        }
        let options = DeserializeOptions::new().deny_unknown_fields(!call.transcoder.options.ignore_unknown);
        let value = Value::Object(object);
        let message = DynamicMessage::deserialize_with_options(input.clone(), value, &options)
            .map_err(|error| Problem::invalid(error.to_string()))?;
        let len =
            u32::try_from(message.encoded_len()).map_err(|_| Problem::invalid("the message is too large"))?;
        out.push(0);
        out.extend(len.to_be_bytes());
        message.encode(&mut out).map_err(|error| Problem::invalid(error.to_string()))?;
    }
    Ok(out)
}

/// The values in a body: one, or for calls that take several an array's or as many as there are.
fn bodies(call: &Call<'_>, body: &[u8]) -> Result<Vec<Option<Value>>, Problem> {
    if matches!(call.binding.body, Body::None) || body.trim_ascii().is_empty() {
        return Ok(vec![None]);
    }
    let mut values = Vec::new();
    for value in serde_json::Deserializer::from_slice(body).into_iter::<Value>() {
        values.push(Some(value.map_err(|error| Problem::invalid(format!("the body is no JSON: {error}")))?));
        if values.len() > MESSAGES_MAX {
            return Err(Problem::invalid(format!("the body holds more than {MESSAGES_MAX} messages")));
        }
    }
    let several = call.method().is_client_streaming();
    match (several, &mut values[..]) {
        (true, [Some(Value::Array(array))]) if array.len() <= MESSAGES_MAX => {
            Ok(array.drain(..).map(Some).collect())
        }
        (true, _) | (false, [_]) => Ok(values),
        (false, _) => Err(Problem::invalid("the body holds more than one value")),
    }
}

fn parameters(
    call: &Call<'_>,
    input: &MessageDescriptor,
    query: &[u8],
    object: &mut Map<String, Value>,
) -> Result<(), Problem> {
    let query = std::str::from_utf8(query).map_err(|_| Problem::invalid("the query is no UTF-8"))?;
    for (count, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
        if count == PARAMETERS_MAX {
            return Err(Problem::invalid(format!("the query has more than {PARAMETERS_MAX} parameters")));
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode = |text: &str| template::decoded(&text.replace('+', " "), false);
        let (Some(name), Some(value)) = (decode(name), decode(value)) else {
            return Err(Problem::invalid("a parameter is no UTF-8"));
        };
        let field: Vec<String> = name.split('.').map(str::to_owned).collect();
        if field_at(input, &field).is_none() {
            if call.transcoder.options.ignore_unknown {
                continue;
            }
            return Err(Problem::invalid(format!("the message has no field `{name}`")));
        }
        if call.captures.iter().any(|(captured, _)| *captured == field) {
            return Err(Problem::invalid(format!("`{name}` is named by the path already")));
        }
        put(object, input, &field, &value)?;
    }
    Ok(())
}

/// The field that a dotted name leads to, by its names in JSON or in the proto file.
pub(super) fn field_at(message: &MessageDescriptor, names: &[String]) -> Option<FieldDescriptor> {
    let (first, rest) = names.split_first()?;
    let field = message.get_field_by_json_name(first).or_else(|| message.get_field_by_name(first))?;
    if rest.is_empty() {
        return Some(field);
    }
    match field.kind() {
        Kind::Message(inner) if !field.is_list() && !field.is_map() && names.len() <= DEPTH_MAX => {
            field_at(&inner, rest)
        }
        _ => None,
    }
}

/// Puts a text into the object at a field.
fn put(
    object: &mut Map<String, Value>,
    message: &MessageDescriptor,
    names: &[String],
    text: &str,
) -> Result<(), Problem> {
    let missing = || Problem::invalid(format!("the message has no field `{}`", names.join(".")));
    let (first, rest) = names.split_first().ok_or_else(missing)?;
    let field = message
        .get_field_by_json_name(first)
        .or_else(|| message.get_field_by_name(first))
        .ok_or_else(missing)?;
    let key = field.json_name().to_owned();
    if !rest.is_empty() {
        let Kind::Message(inner) = field.kind() else { return Err(missing()) };
        let value = object.entry(key).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(inner_object) = value else { return Err(missing()) };
        return put(inner_object, &inner, rest, text);
    }
    let value = value_of(&field, text);
    if field.is_list() {
        let list = object.entry(key).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            list.push(value);
        }
    } else {
        object.insert(key, value);
    }
    Ok(())
}

/// A text as JSON has it. Numbers and enums may be strings there.
fn value_of(field: &FieldDescriptor, text: &str) -> Value {
    let is_bool = match field.kind() {
        Kind::Bool => true,
        Kind::Message(message) => message.full_name() == "google.protobuf.BoolValue",
        _ => false,
    };
    match (is_bool, text) {
        (true, "true") => Value::Bool(true),
        (true, "false") => Value::Bool(false),
        _ => Value::String(text.to_owned()),
    }
}
