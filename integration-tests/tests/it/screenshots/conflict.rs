//! Two screenshot events with the same ids: the picture of the first stays.

use butler_sos_domain::audit::BodyHash;

use super::server_harness::{Rooms, ServerHarness, USER, event, image_name, names_in};

#[test]
fn a_second_event_with_the_same_ids_does_not_replace_a_picture() {
    let harness = ServerHarness::start(&Rooms::default());
    let first = event(1, USER, &harness.url("/tempcontent/first.png"));
    let second = event(1, USER, &harness.url("/tempcontent/second.png"));
    harness.post_all(std::slice::from_ref(&first));
    harness.wait_for_finished(1);
    let name = image_name(1, "png");
    let pictures = harness.images().map(|directory| std::fs::read(directory.join(&name)).expect("a picture"));
    harness.post_all(std::slice::from_ref(&second));
    harness.wait_for_finished(2);
    harness.settle();

    let half = &BodyHash::of(second.as_bytes()).to_string()[..16];
    let beside = format!("{}_conflict-{half}.png", name.trim_end_matches(".png"));
    for (directory, before) in harness.images().iter().zip(pictures) {
        let mut expect = vec![name.clone(), beside.clone()];
        expect.sort();
        assert_eq!(names_in(directory), expect);
        assert_eq!(std::fs::read(directory.join(&name)).expect("a picture"), before);
    }
    for (destination, reported) in harness.delivered() {
        let mut paths: Vec<&str> =
            reported.iter().flat_map(|reported| reported.saved_paths.iter().map(String::as_str)).collect();
        paths.sort_unstable();
        assert_eq!(reported.len(), 2, "{destination}");
        assert_eq!(
            paths.iter().filter(|path| path.ends_with(&beside)).count(),
            2,
            "{destination}: {paths:?}"
        );
    }
    // Its object data stand beside the picture.
    let json = names_in(&harness.sandbox.path().join("json"));
    assert!(json.contains(&beside.replace(".png", ".json")), "{json:?}");
}
