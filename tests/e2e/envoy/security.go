package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// An authority makes certificates, and is trusted by a file.
type authority struct {
	bench       *bench
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	file        string
}

// A certificate and its key, in files of PEM.
type certificate struct{ chain, key string }

func (b *bench) authority(name string) *authority {
	a := &authority{bench: b, file: filepath.Join(b.directory, name+".crt")}
	a.certificate = &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.key = b.newKey()
	b.certify(a.certificate, a, a.key, a.file)
	return a
}

// certify makes a certificate of an owner with these names: of hosts, of addresses and, with `://` in them, URIs.
func (a *authority) certify(owner string, names ...string) *certificate {
	of := &x509.Certificate{Subject: pkix.Name{CommonName: owner}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	for _, name := range names {
		if address := net.ParseIP(name); address != nil {
			of.IPAddresses = append(of.IPAddresses, address)
		} else if uri, err := url.Parse(name); err == nil && uri.Scheme != "" {
			of.URIs = append(of.URIs, uri)
		} else {
			of.DNSNames = append(of.DNSNames, name)
		}
	}
	made := &certificate{filepath.Join(a.bench.directory, owner+".crt"), filepath.Join(a.bench.directory, owner+".key")}
	key := a.bench.newKey()
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	a.bench.check(err == nil, "encode the key of %s: %v", owner, err)
	a.bench.write(made.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))
	a.bench.certify(of, a, key, made.chain)
	return made
}

func (b *bench) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	b.check(err == nil, "make a key: %v", err)
	return key
}

func (b *bench) certify(of *x509.Certificate, by *authority, key *ecdsa.PrivateKey, file string) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	b.check(err == nil, "make a serial number: %v", err)
	of.SerialNumber, of.NotBefore, of.NotAfter = serial, time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, of, by.certificate, &key.PublicKey, by.key)
	b.check(err == nil, "make a certificate: %v", err)
	b.write(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// write puts a file in the place of the one there may be, so that nobody reads half of it.
func (b *bench) write(file string, content []byte) {
	err := os.WriteFile(file+".new", content, 0o600)
	b.check(err == nil, "write %s: %v", file, err)
	err = os.Rename(file+".new", file)
	b.check(err == nil, "replace %s: %v", file, err)
}

// A peer is what a proxy asks of breakerd's certificate, and which one it shows itself.
type peer struct {
	authority *authority
	name      string       // of a host
	own       *certificate // nil: none
	// file of a secret that has its own one, and that is read again when it is replaced
	secret string
}

// transportSocket of a cluster, in YAML on one line
func (p *peer) transportSocket() string {
	if p == nil {
		return ""
	}
	own := ""
	if p.own != nil {
		own = p.own.shown() + ", "
	}
	if p.secret != "" {
		own = fmt.Sprintf("tls_certificate_sds_secret_configs: [{ name: own, sds_config: { path_config_source: { path: %q } } }], ", p.secret)
	}
	names := ""
	if p.name != "" {
		names = fmt.Sprintf(", match_typed_subject_alt_names: [{ san_type: DNS, matcher: { exact: %q } }]", p.name)
	}
	return fmt.Sprintf(`{ name: envoy.transport_sockets.tls, typed_config: { "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, `+
		`sni: %q, common_tls_context: { %svalidation_context: { trusted_ca: { filename: %q }%s } } } }`, p.name, own, p.authority.file, names)
}

// transportSocket of a listener that demands certificates of the authority, in YAML on one line. Its own one has this name.
func (a *authority) transportSocket(name string) string {
	if a == nil {
		return ""
	}
	return fmt.Sprintf(`{ name: envoy.transport_sockets.tls, typed_config: { "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, `+
		`require_client_certificate: true, common_tls_context: { %s, validation_context: { trusted_ca: { filename: %q } } } } }`, a.certify(name, "127.0.0.1").shown(), a.file)
}

// shown by a proxy: a part of its TLS, in YAML
func (c *certificate) shown() string {
	return fmt.Sprintf("tls_certificates: [{ certificate_chain: { filename: %q }, private_key: { filename: %q } }]", c.chain, c.key)
}

// secret that has it, in a file for proxies.
func (c *certificate) secret(b *bench, file string) {
	b.write(file, fmt.Appendf(nil, `resources: [{ "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret, name: own, `+
		`tls_certificate: { certificate_chain: { filename: %q }, private_key: { filename: %q } } }]`, c.chain, c.key))
}

// shownAt is the serial number of the certificate that a client with its own one is shown at a port.
func (a *authority) shownAt(port int, own *certificate) string {
	pair, err := tls.LoadX509KeyPair(own.chain, own.key)
	a.bench.check(err == nil, "read a certificate: %v", err)
	roots := x509.NewCertPool()
	roots.AddCert(a.read(a.file))
	connection, err := tls.Dial("tcp", loopback(port), &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, NextProtos: []string{"h2"}})
	a.bench.check(err == nil, "connect by TLS: %v", err)
	defer connection.Close()
	return connection.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// read the certificate in a file.
func (a *authority) read(file string) *x509.Certificate {
	content, err := os.ReadFile(file)
	a.bench.check(err == nil, "read a certificate: %v", err)
	block, _ := pem.Decode(content)
	read, err := x509.ParseCertificate(block.Bytes)
	a.bench.check(err == nil, "parse a certificate: %v", err)
	return read
}

// client that shows a certificate of the authority with this name.
func (a *authority) client(name string) *client {
	own := a.certify("client-"+rand.Text(), name)
	pair, err := tls.LoadX509KeyPair(own.chain, own.key)
	a.bench.check(err == nil, "read a certificate: %v", err)
	trusted, err := os.ReadFile(a.file)
	a.bench.check(err == nil, "read the certificate of an authority: %v", err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(trusted)
	transport := &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots}}
	return &client{http.Client{Transport: transport, Timeout: patience}}
}

// metadata of a gRPC service, in YAML, to follow something
func metadata(token string) string {
	if token == "" {
		return ""
	}
	return fmt.Sprintf(", initial_metadata: [{ key: authorization, value: %q }]", "Bearer "+token)
}

// A tokenList is a file of tokens and certificates that breakerd reads.
type tokenList struct {
	bench *bench
	file  string
}

func (b *bench) tokenList() *tokenList {
	return &tokenList{bench: b, file: filepath.Join(b.directory, "tokens.toml")}
}

// setting that names it, in TOML
func (l *tokenList) setting() string { return fmt.Sprintf("\n[auth]\ntokens_file = %q\n", l.file) }

// add a token of a client with a role, for these services or for all, and give it.
func (l *tokenList) add(name, role string, services ...string) string {
	arguments := []string{"token", "new", "--name", name, "--role", role, "--append", l.file}
	for _, service := range services {
		arguments = append(arguments, "--service", service)
	}
	return strings.TrimSpace(l.bench.run(nil, l.bench.programs.breakerd, arguments...))
}

// addCertificate adds one with this name of a host, or URI.
func (l *tokenList) addCertificate(name, role, subject, service string) {
	content, _ := os.ReadFile(l.file)
	l.bench.write(l.file, fmt.Appendf(content, "[[certificate]]\nname = %q\nsubject = %q\nroles = [%q]\nservices = [%q]\n", name, subject, role, service))
}

// remove the entry of a token.
func (l *tokenList) remove(token string) {
	content, err := os.ReadFile(l.file)
	l.bench.check(err == nil, "read the tokens: %v", err)
	digest := fmt.Sprintf("%x", sha256.Sum256([]byte(token)))
	var kept []string
	for entry := range strings.SplitSeq(string(content), "[[token]]\n") {
		if !strings.Contains(entry, digest) {
			kept = append(kept, entry)
		}
	}
	l.bench.write(l.file, []byte(strings.Join(kept, "[[token]]\n")))
}

// A secret is a file with the token of proxies, which they read again when it is replaced.
type secret struct {
	bench *bench
	file  string
	// statistic of a proxy: how often it has read it
	updates string
}

func (b *bench) secret(token string) *secret {
	s := &secret{b, filepath.Join(b.directory, "secret.yaml"), "sds.breakerd.update_success"}
	s.set(token)
	return s
}

func (s *secret) set(token string) {
	s.bench.write(s.file, fmt.Appendf(nil, `resources: [{ "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret, name: breakerd, `+
		`generic_secret: { secret: { inline_string: "Bearer %s" } } }]`, token))
}
