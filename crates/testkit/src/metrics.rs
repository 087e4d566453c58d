//! The Prometheus text format, read strictly enough that a malformed exposition fails a test.

use std::collections::HashSet;
use std::net::SocketAddr;

/// One scrape.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub samples: Vec<Sample>,
    pub text: String,
}

/// One line: a name, its labels in order, a value.
#[derive(Debug, Clone)]
pub struct Sample {
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub value: f64,
}

impl Sample {
    fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels
            .iter()
            .all(|(name, value)| self.labels.iter().any(|(n, v)| n == name && v == value))
    }
}

impl Metrics {
    /// Asks `/metrics` of the admin listener.
    #[track_caller]
    pub fn scrape(admin: SocketAddr) -> Self {
        let response = crate::client::ask_admin(admin, "/metrics");
        assert_eq!(response.status, 200, "{response:?}");
        Self::parse(&response.text()).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Every sample has a TYPE and HELP before it, a good name, a number, and appears once.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut types, mut helps, mut seen) = (HashSet::new(), HashSet::new(), HashSet::new());
        let mut samples = Vec::new();
        for line in text.lines().filter(|l| !l.is_empty()) {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                types.insert(rest.split(' ').next().unwrap_or_default().to_owned());
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                helps.insert(rest.split(' ').next().unwrap_or_default().to_owned());
            } else if !line.starts_with('#') {
                let (series, _) = line.rsplit_once(' ').ok_or_else(|| format!("no value: {line}"))?;
                let sample = sample(line)?;
                let base = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|s| sample.name.strip_suffix(s).filter(|base| types.contains(*base)))
                    .unwrap_or(&sample.name);
                if !types.contains(base) || !helps.contains(base) {
                    return Err(format!("no TYPE or HELP before `{line}`"));
                }
                if !seen.insert(series.to_owned()) {
                    return Err(format!("series twice: {series}"));
                }
                samples.push(sample);
            }
        }
        Ok(Self {
            samples,
            text: text.to_owned(),
        })
    }

    /// The sum of all series of that name with at least these labels; 0 if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.samples
            .iter()
            .filter(|s| s.name == name && s.has(labels))
            .map(|s| s.value)
            .sum()
    }

    /// How many series of that name there are.
    pub fn series(&self, name: &str) -> usize {
        self.samples.iter().filter(|s| s.name == name).count()
    }
}

fn sample(line: &str) -> Result<Sample, String> {
    let wrong = |what: &str| format!("{what}: {line}");
    let (series, value) = line.rsplit_once(' ').ok_or_else(|| wrong("no value"))?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        number => number.parse().map_err(|_| wrong("no number"))?,
    };
    let (name, labels) = match series.split_once('{') {
        None => (series, Vec::new()),
        Some((name, rest)) => (
            name,
            labels(rest.strip_suffix('}').ok_or_else(|| wrong("no closing brace"))?)?,
        ),
    };
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    if name.is_empty() || !name.chars().all(good) {
        return Err(wrong("bad name"));
    }
    Ok(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

fn labels(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut labels = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest
            .split_once("=\"")
            .ok_or_else(|| format!("bad labels: {text}"))?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next() {
                Some((_, '\\')) => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, c)) => value.push(c),
                    None => return Err(format!("bad escape: {text}")),
                },
                Some((at, '"')) => break at,
                Some((_, c)) => value.push(c),
                None => return Err(format!("no closing quote: {text}")),
            }
        };
        labels.push((name.to_owned(), value));
        rest = after[end + 1..].trim_start_matches(',');
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn samples_with_labels_are_summed() {
        let text = "# HELP a b\n# TYPE a counter\na{x=\"1\",y=\"q\\\"}\"} 2\na{x=\"2\"} 3.5\n";
        let metrics = Metrics::parse(text).unwrap();
        assert_eq!(metrics.sum("a", &[]).to_bits(), 5.5f64.to_bits());
        assert_eq!(metrics.sum("a", &[("y", "q\"}")]).to_bits(), 2f64.to_bits());
        assert_eq!((metrics.series("a"), metrics.series("b")), (2, 0));
    }

    #[test]
    fn malformed_expositions_are_refused() {
        for wrong in [
            "a 1\n",
            "# HELP a b\n# TYPE a counter\na 1\na 2\n",
            "# HELP a b\n# TYPE a gauge\na x\n",
        ] {
            assert!(Metrics::parse(wrong).is_err(), "{wrong}");
        }
    }
}
