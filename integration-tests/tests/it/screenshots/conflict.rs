//! Two screenshot events with the same ids: the picture of the first stays.

use butler_sos_domain::audit::BodyHash;

use super::house::{House, Rooms, USER, event, image_name, names_in};

#[test]
fn a_second_event_with_the_same_ids_does_not_replace_a_picture() {
    let house = House::start(&Rooms::default());
    let first = event(1, USER, &house.url("/tempcontent/first.png"));
    let second = event(1, USER, &house.url("/tempcontent/second.png"));
    house.post_all(std::slice::from_ref(&first));
    house.wait_for_finished(1);
    let name = image_name(1, "png");
    let pictures = house.images().map(|directory| std::fs::read(directory.join(&name)).expect("a picture"));
    house.post_all(std::slice::from_ref(&second));
    house.wait_for_finished(2);
    house.settle();

    let half = &BodyHash::of(second.as_bytes()).to_string()[..16];
    let beside = format!("{}_conflict-{half}.png", name.trim_end_matches(".png"));
    for (directory, before) in house.images().iter().zip(pictures) {
        let mut expect = vec![name.clone(), beside.clone()];
        expect.sort();
        assert_eq!(names_in(directory), expect);
        assert_eq!(std::fs::read(directory.join(&name)).expect("a picture"), before);
    }
    for (destination, told) in house.delivered() {
        let mut paths: Vec<&str> =
            told.iter().flat_map(|told| told.saved_paths.iter().map(String::as_str)).collect();
        paths.sort_unstable();
        assert_eq!(told.len(), 2, "{destination}");
        assert_eq!(
            paths.iter().filter(|path| path.ends_with(&beside)).count(),
            2,
            "{destination}: {paths:?}"
        );
    }
    // Its object data stand beside the picture.
    let json = names_in(&house.sandbox.path().join("json"));
    assert!(json.contains(&beside.replace(".png", ".json")), "{json:?}");
}
