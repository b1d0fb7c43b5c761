//! The shipped base as a folder.

use pvchat::{
    Vilm,
    burn::prelude::Device,
    miniature::embedded,
    model::{checkpoint, families::miniature},
};

#[test]
fn the_shipped_base_is_saved_and_opened_again() {
    let device = Device::flex();
    let shipped = embedded::vilm(&device).unwrap();
    let folder = tempfile::tempdir().unwrap();
    shipped.save(folder.path()).unwrap();
    let again = Vilm::open(folder.path(), &device).unwrap();
    assert_eq!(again.config(), shipped.config());
    let bytes = |vilm: &Vilm| {
        let folder = tempfile::tempdir().unwrap();
        checkpoint::save(vilm.parameters(), folder.path(), usize::MAX, miniature::FAMILY.names).unwrap();
        std::fs::read(folder.path().join(checkpoint::SINGLE)).unwrap()
    };
    assert_eq!(bytes(&again), bytes(&shipped));
}
