//! Any path in any form: refused, or absolute, printable, free of dot segments, and a fixed point of its form.
#![no_main]

use gatehouse_core::http::normalize::{self, Form, Shape};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &str| {
    let shape = normalize::shape(path);
    let mut plain = None;
    for form in Form::ALL {
        let mut normal = String::new();
        if normalize::write(path, form, &mut normal).is_err() {
            continue;
        }
        assert!(normal.starts_with('/') && normal.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(
            !normal
                .bytes()
                .any(|byte| matches!(byte, b'?' | b'#' | b'\\' | b'"'))
        );
        assert!(normal.split('/').all(|segment| segment != "." && segment != ".."));
        assert!(!form.merge || !normal.contains("//"));
        assert!(!form.decode || !(normal.contains("%2F") || normal.contains("%5C")));
        let mut again = String::new();
        assert!(normalize::write(&normal, form, &mut again).is_ok());
        assert_eq!(again, normal);
        match shape {
            Shape::Normal => assert_eq!(normal, path),
            Shape::Plain => assert_eq!(plain.get_or_insert_with(|| normal.clone()), &normal),
            Shape::Slashes => {}
        }
    }
});
