//! Certificates for a control plane and its users, and the kubeconfigs that carry them.

use std::{fs, net::SocketAddr, path::Path};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use serde_json::json;

/// A throw-away certificate authority, for the API server and for its users.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
pub(super) struct Credentials {
    certificate: String,
    key: String,
}

impl Authority {
    pub(super) fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name("leasehold-test-authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self(issuer))
    }

    /// A client certificate, of which Kubernetes takes the common name as the user's name and the
    /// organization as a group.
    pub(super) fn issue_to_user(&self, user: &str, group: Option<&str>) -> Result<Credentials> {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        self.issue(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Result<Credentials> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?.pem();
        Ok(Credentials { certificate, key: key.serialize_pem() })
    }

    /// Writes what `start_api_server` names in its arguments.
    pub(super) fn write_server_files(&self, folder: &Path) -> Result<()> {
        let hosts = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name = distinguished_name("kube-apiserver");
        let server = self.issue(params, ExtendedKeyUsagePurpose::ServerAuth)?;
        let service_account = KeyPair::generate()?;

        let files = [
            ("authority.crt", self.0.pem()),
            ("server.crt", server.certificate),
            ("server.key", server.key),
            ("service-account.key", service_account.serialize_pem()),
            ("service-account.pub", service_account.public_key_pem()),
        ];
        for (name, content) in files {
            fs::write(folder.join(name), content).with_context(|| format!("cannot write {name}"))?;
        }
        Ok(())
    }
}

fn distinguished_name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

pub(super) fn write_kubeconfig(
    path: &Path,
    server: SocketAddr,
    authority: &Authority,
    credentials: &Credentials,
) -> Result<()> {
    // JSON is YAML.
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {
            "server": format!("https://{server}"),
            "certificate-authority-data": BASE64.encode(authority.0.pem()),
        }}],
        "users": [{"name": "test", "user": {
            "client-certificate-data": BASE64.encode(&credentials.certificate),
            "client-key-data": BASE64.encode(&credentials.key),
        }}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    });
    fs::write(path, format!("{kubeconfig:#}\n")).with_context(|| format!("cannot write {}", path.display()))
}
