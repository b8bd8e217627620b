//! What is known of one target: all its manifests, the one that speaks for it, and how large it is.

use spec::Digest;
use spec::api::{
    AttestationProperties, BuildIdentity, Identity, ImageManifestSummary, ImageProperties, ManifestSize,
    Platform, PullIdentity, SignatureIdentity, UnpackedSize,
};
use spec::oci::image::Descriptor;
use store::{Image, ImageRecord, Member, MemberKind, Origin, Store};

use crate::{Engine, Error};

/// Who uses which manifest: the container's id, and its manifest's digest.
pub(super) type Users = Vec<(String, Digest)>;

/// One target, as Docker's containerd store adds it up: content and unpacked layers of every platform that is here.
pub(super) struct Summary {
    pub(super) members: Vec<Member>,
}

impl Summary {
    /// Blocking. A target that is no image has no members.
    pub(super) fn of(store: &Store, target: &Descriptor) -> Self {
        Self { members: store.members(target).unwrap_or_default() }
    }

    /// Bytes of all its platforms.
    pub(super) fn size(&self) -> u64 {
        self.members.iter().map(|member| member.content() + member.unpacked()).sum()
    }

    /// The image for a platform. Without one: this host's, or else the first that is whole, or the first.
    pub(super) fn best(&self, wanted: Option<&Platform>) -> Option<(&Member, &Image)> {
        let images = || self.members.iter().filter_map(|m| Some((m, m.image.as_ref()?)));
        if let Some(wanted) = wanted {
            return images().find(|(member, _)| wanted.matches(&member.platform));
        }
        let host = Platform::host();
        images()
            .find(|(member, _)| host.matches(&member.platform))
            .or_else(|| images().find(|(member, _)| member.is_whole))
            .or_else(|| images().next())
    }

    /// How many containers use any of it.
    pub(super) fn users(&self, users: &Users) -> i64 {
        let uses = |digest: &Digest| self.members.iter().any(|m| m.descriptor.digest == *digest);
        i64::try_from(users.iter().filter(|(_, manifest)| uses(manifest)).count()).unwrap_or(i64::MAX)
    }

    /// Its manifests in the API's words.
    pub(super) fn manifests(&self, users: &Users, identity: Option<&Identity>) -> Vec<ImageManifestSummary> {
        self.members.iter().map(|member| manifest(member, users, identity)).collect()
    }
}

fn manifest(member: &Member, users: &Users, identity: Option<&Identity>) -> ImageManifestSummary {
    let size = |bytes: u64| bytes.cast_signed();
    let mut summary = ImageManifestSummary {
        id: member.descriptor.digest.to_string(),
        descriptor: member.descriptor.clone(),
        available: member.is_whole,
        size: ManifestSize {
            total: size(member.content() + member.unpacked()),
            content: size(member.content()),
        },
        kind: "unknown".into(),
        image_data: None,
        attestation_data: None,
    };
    match member.kind {
        MemberKind::Unknown => {}
        MemberKind::Attestation(subject) => {
            summary.kind = "attestation".into();
            summary.attestation_data = Some(AttestationProperties { r#for: subject.to_string() });
        }
        MemberKind::Image => {
            summary.kind = "image".into();
            let uses = users.iter().filter(|(_, manifest)| *manifest == member.descriptor.digest);
            summary.image_data = Some(ImageProperties {
                platform: member.platform.clone(),
                identity: identity.cloned(),
                containers: uses.map(|(id, _)| id.clone()).collect(),
                size: UnpackedSize { unpacked: size(member.unpacked()) },
            });
        }
    }
    summary
}

impl Engine {
    /// The containers and their manifests.
    pub(super) fn manifest_users(&self) -> Users {
        let views = self.inner.containers.all().into_iter().map(|c| c.view());
        views.map(|v| (v.record.id.to_string(), v.record.manifest.digest)).collect()
    }
}

/// Where a target is from, by its names' records.
pub(super) fn identity(records: &[ImageRecord]) -> Option<Identity> {
    let Origin { repositories, build, signatures } = &records.first()?.origin;
    let pull = repositories.iter().map(|name| PullIdentity { repository: name.clone() });
    let build = build.iter().map(|b| BuildIdentity { r#ref: b.id.clone(), created_at: b.started.clone() });
    let signature = signatures.iter().map(|signature| SignatureIdentity {
        name: signature.key.clone(),
        docker_reference: signature.reference.clone(),
        signature_type: signature.format.clone(),
    });
    let identity = Identity { signature: signature.collect(), pull: pull.collect(), build: build.collect() };
    (identity != Identity::default()).then_some(identity)
}

/// An image that is here, but not for the platform.
pub(super) fn not_provided(name: &str, platform: &Platform) -> Error {
    store::Error::NotProvided { name: name.to_owned(), platform: platform.to_string() }.into()
}
