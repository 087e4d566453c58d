//! YAML to JSON values, for cases and for looking into configurations.

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value};

/// The first document of the text; the error says where it is wrong.
pub fn parse(text: &str) -> Result<Value, String> {
    let documents = Yaml::load_from_str(text).map_err(|e| e.to_string())?;
    documents.first().map_or(Ok(Value::Null), value)
}

fn value(node: &Yaml<'_>) -> Result<Value, String> {
    Ok(match node {
        Yaml::Value(scalar) => match scalar {
            Scalar::Null => Value::Null,
            Scalar::Boolean(b) => Value::Bool(*b),
            Scalar::Integer(i) => Value::from(*i),
            Scalar::FloatingPoint(f) => Value::from(f.into_inner()),
            Scalar::String(s) => Value::from(s.as_ref()),
        },
        Yaml::Sequence(items) => Value::Array(items.iter().map(value).collect::<Result<_, _>>()?),
        Yaml::Mapping(entries) => {
            let mut map = Map::new();
            for (key, item) in entries {
                let key = match value(key)? {
                    Value::String(s) => s,
                    other => other.to_string(),
                };
                map.insert(key, value(item)?);
            }
            Value::Object(map)
        }
        other => return Err(format!("not plain YAML: {other:?}")),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn plain_documents() {
        let parsed = super::parse("a: { b: [1, 'x', true, no], 200: y }\nt: |\n  two\n  lines\n").unwrap();
        assert_eq!(
            parsed,
            json!({"a": {"b": [1, "x", true, "no"], "200": "y"}, "t": "two\nlines\n"})
        );
        assert!(super::parse("a: [1").is_err());
    }
}
