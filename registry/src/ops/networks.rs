//! Networks, their descriptors and invites.

use super::Ops;
use crate::core::join::InviteTerms;
use crate::core::lists::{
    DescriptorDraft, Replace, open_descriptor, origins, replace_descriptor, sign_descriptor,
    sign_invite,
};
use crate::directory::Network;
use crate::error::Error;
use crate::limits::{INVITE_KEEP_MS, INVITES_MAX};
use crate::random;
use crate::store::rows::Seed;
use crate::store::{Created, InviteRow, NetworkRow, NewNetwork, Written};
use beeline_proto::envelope::split;
use beeline_proto::id::{Label, NetworkFp, sha256};
use beeline_proto::pb::identity::v1::Role;
use beeline_proto::pb::registry::v1::{
    CreateInviteRequest, CreateInviteResponse, CreateNetworkRequest, CreateNetworkResponse,
    GetNetworkResponse,
};
use beeline_proto::{invite::InviteLink, keys::SigningKey};
use std::sync::Arc;

/// Origins a descriptor names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    /// Of the gateways.
    pub gateway: Vec<String>,
    /// Of the registries.
    pub registry: Vec<String>,
}

impl Origins {
    /// Both lists in their one form.
    pub fn normal(&self) -> Result<Self, Error> {
        Ok(Self {
            gateway: origins(&self.gateway)?,
            registry: origins(&self.registry)?,
        })
    }
}

impl Ops {
    /// The network's signed lists.
    pub fn network_lists(&self, network: &Network) -> GetNetworkResponse {
        GetNetworkResponse {
            descriptor: network.descriptor.verified.bytes().to_vec(),
            revocations: network.revocations.clone(),
        }
    }

    /// Creates a network: with an authority key of its own, or under a descriptor signed elsewhere.
    /// The latter again answers the same, so that a lost answer (and the registrar key in it) can
    /// be asked for again.
    pub async fn create_network(
        &self,
        request: &CreateNetworkRequest,
    ) -> Result<CreateNetworkResponse, Error> {
        let label = match request.network_id.as_str() {
            "" => None,
            text => Some(Label::new(text)?),
        };
        let network = if request.descriptor.is_empty() {
            let label = match label {
                Some(label) => label,
                None => Label::new(&random::label("net")?)?,
            };
            self.create_held(label, &self.origins).await?
        } else {
            self.create_offline(label, &request.descriptor).await?
        };
        Ok(CreateNetworkResponse {
            network_id: network.label.to_string(),
            descriptor: network.descriptor.verified.bytes().to_vec(),
            registrar_key: network.registrar.verify_key().to_bytes().to_vec(),
        })
    }

    async fn create_held(&self, label: Label, origins: &Origins) -> Result<Arc<Network>, Error> {
        let authority = random::signing_key()?;
        let registrar = random::signing_key()?;
        let draft = DescriptorDraft {
            label: &label,
            version: 1,
            registrars: vec![registrar.verify_key()],
            gateway_origins: origins.gateway.clone(),
            registry_origins: origins.registry.clone(),
        };
        let descriptor = sign_descriptor(&authority, draft, random::message_id()?);
        let fp = authority.verify_key().network_fp();
        self.store_network(label, fp, descriptor, 1, registrar, Some(authority))
            .await
    }

    async fn create_offline(
        &self,
        label: Option<Label>,
        descriptor: &[u8],
    ) -> Result<Arc<Network>, Error> {
        let raw = split(descriptor).map_err(|_| Error::Invalid("the descriptor is malformed"))?;
        let fp = NetworkFp(sha256(raw.signer_key));
        let opened = open_descriptor(descriptor, fp)?;
        let own = Label::new(&opened.verified.payload().label)?;
        if label.is_some_and(|label| label != own) {
            return Err(Error::Invalid(
                "network_id and the descriptor's label differ",
            ));
        }
        let registrar = random::signing_key()?;
        let version = opened.version();
        self.store_network(own, fp, descriptor.to_vec(), version, registrar, None)
            .await
    }

    async fn store_network(
        &self,
        label: Label,
        fp: NetworkFp,
        descriptor: Vec<u8>,
        version: u64,
        registrar: SigningKey,
        authority: Option<SigningKey>,
    ) -> Result<Arc<Network>, Error> {
        let _one_at_a_time = self.admin.lock().await;
        let new = NewNetwork {
            label: label.to_string(),
            fp,
            descriptor,
            descriptor_version: version,
            registrar: Seed(registrar.to_seed()),
            authority: authority.map(|key| Seed(key.to_seed())),
            created_ms: self.clock.now().wall_ms,
        };
        match self.store.create_network(new).await? {
            Created::New(row) => {
                tracing::info!(network = %label, "network created");
                self.directory.put_network(&row)
            }
            Created::Known(row) if row.label == label.as_str() => self.directory.put_network(&row),
            Created::Known(_) | Created::LabelTaken => Err(Error::Taken("network id")),
            Created::Full => Err(Error::Full(
                "this registry holds as many networks as it may",
            )),
        }
    }

    /// Replaces the descriptor by one signed elsewhere; answers the version in force.
    pub async fn put_descriptor(&self, network: &Network, bytes: &[u8]) -> Result<u64, Error> {
        let _one_at_a_time = self.admin.lock().await;
        let network = self.newest(network)?;
        let registrar = network.registrar.verify_key();
        let (new, replace) = replace_descriptor(bytes, &network.descriptor, &registrar)?;
        if replace == Replace::Store {
            self.store_descriptor(&network, new.version(), bytes.to_vec())
                .await?;
        }
        Ok(new.version())
    }

    async fn store_descriptor(
        &self,
        network: &Network,
        version: u64,
        bytes: Vec<u8>,
    ) -> Result<Arc<Network>, Error> {
        let known = network.descriptor.version();
        match self
            .store
            .put_descriptor(network.no, known, version, bytes.clone())
            .await?
        {
            Written::Done => {
                tracing::info!(network = %network.label, version, "descriptor replaced");
                self.directory.put_network(&NetworkRow {
                    descriptor: bytes,
                    ..row_of(network)
                })
            }
            Written::Stale | Written::Taken => Err(Error::Contended),
        }
    }

    /// The network as it is in force, for work under the admin lock.
    pub(super) fn newest(&self, network: &Network) -> Result<Arc<Network>, Error> {
        self.directory
            .network_by_fp(network.fp)
            .ok_or(Error::NotFound("network"))
    }

    /// Makes sure that there is a network (`label`, or the first one) and that its descriptor names
    /// these origins, where the registry holds the authority key. Empty lists leave them alone.
    pub async fn ensure_network(
        &self,
        label: Option<&str>,
        given: &Origins,
    ) -> Result<Arc<Network>, Error> {
        let wanted = given.normal()?;
        let label = label.map(Label::new).transpose()?;
        let known = match &label {
            Some(label) => self.directory.network(label.as_str()),
            None => self.directory.first_network(),
        };
        let Some(known) = known else {
            let label = match label {
                Some(label) => label,
                None => Label::new(&random::label("net")?)?,
            };
            return self.create_held(label, &wanted).await;
        };
        let _one_at_a_time = self.admin.lock().await;
        let network = self.newest(&known)?;
        let Some(authority) = &network.authority else {
            return Ok(network);
        };
        let payload = network.descriptor.verified.payload();
        let in_force = Origins {
            gateway: payload.gateway_origins.clone(),
            registry: payload.registry_origins.clone(),
        };
        let keep =
            |new: Vec<String>, old: &Vec<String>| if new.is_empty() { old.clone() } else { new };
        let next = Origins {
            gateway: keep(wanted.gateway, &in_force.gateway),
            registry: keep(wanted.registry, &in_force.registry),
        };
        if next == in_force {
            return Ok(network);
        }
        let version = network.descriptor.version() + 1;
        let draft = DescriptorDraft {
            label: &network.label,
            version,
            registrars: network.descriptor.registrars.clone(),
            gateway_origins: next.gateway,
            registry_origins: next.registry,
        };
        let bytes = sign_descriptor(authority, draft, random::message_id()?);
        self.store_descriptor(&network, version, bytes).await
    }

    /// Signs an invite for a key whose secret half the caller keeps.
    pub async fn create_invite(
        &self,
        network: &Network,
        request: &CreateInviteRequest,
    ) -> Result<CreateInviteResponse, Error> {
        let _one_at_a_time = self.admin.lock().await;
        let network = self.newest(network)?;
        let registrar = network.registrar()?;
        let now_ms = self.clock.now().wall_ms;
        let terms = InviteTerms::check(
            &request.invite_key,
            request.role,
            request.uses,
            request.ttl_s,
            now_ms,
        )?;
        let envelope = sign_invite(registrar, network.fp, &terms, random::message_id()?);
        let row = InviteRow {
            network_no: network.no,
            key: terms.key.to_bytes(),
            role: terms.role as i32,
            uses: terms.uses,
            expires_ms: terms.expires_ms,
            envelope: envelope.clone(),
        };
        let forget_before_ms = now_ms.saturating_sub(INVITE_KEEP_MS);
        match self
            .store
            .create_invite(row, forget_before_ms, INVITES_MAX)
            .await?
        {
            Written::Done => Ok(CreateInviteResponse {
                invite: envelope,
                descriptor: network.descriptor.verified.bytes().to_vec(),
            }),
            Written::Taken | Written::Stale => Err(Error::Full(
                "the invite's key is in use, or there are too many invites",
            )),
        }
    }

    /// Makes an invite and its link.
    pub async fn invite_link(
        &self,
        network: &Network,
        role: Role,
        uses: u32,
        ttl_s: u32,
    ) -> Result<InviteLink, Error> {
        let key = random::signing_key()?;
        let request = CreateInviteRequest {
            network_id: network.label.to_string(),
            invite_key: key.verify_key().to_bytes().to_vec(),
            role: role as i32,
            uses,
            ttl_s,
        };
        self.create_invite(network, &request).await?;
        let network = self.newest(network)?;
        let gateways = network
            .descriptor
            .verified
            .payload()
            .gateway_origins
            .clone();
        if gateways.is_empty() {
            let why = "the network names no gateway origin, so a link could lead nowhere";
            return Err(Error::Invalid(why));
        }
        Ok(InviteLink {
            network_id: network.label.clone(),
            network: network.fp,
            key,
            gateways,
        })
    }
}

/// The row a network was made from.
pub(super) fn row_of(network: &Network) -> NetworkRow {
    NetworkRow {
        network_no: network.no,
        label: network.label.to_string(),
        fp: network.fp,
        descriptor: network.descriptor.verified.bytes().to_vec(),
        revocations: network.revocations.clone(),
        revocations_version: network.revocations_version,
        registrar: Seed(network.registrar.to_seed()),
        authority: network.authority.as_ref().map(|key| Seed(key.to_seed())),
    }
}
