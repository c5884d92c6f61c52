package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Cluster is one Kubernetes cluster of a lab: etcd, an API server with RBAC
// and a controller manager, without any node.
type Cluster struct {
	// Name is the cluster's name; the hub's is HubName.
	Name string
	// Dir holds the cluster's data, logs and kubeconfig files.
	Dir string
	// Kubeconfig is the path of the administrator's kubeconfig file.
	Kubeconfig string
	// Config is the administrator's client configuration, without any limit on
	// the client's side. Copy it before changing it.
	Config *rest.Config
	// EtcdURL is where etcd serves clients, without authentication.
	EtcdURL string
	// AuditLog is the file with one JSON audit event for each finished write,
	// at Metadata level.
	AuditLog string

	server     string // the API server's URL
	podAddress string // of the API server, for the pods of all clusters
	caPEM      []byte
}

// pkiDir is where the cluster's certificates are.
func (c *Cluster) pkiDir() string {
	return filepath.Join(c.Dir, "pki")
}

// newCluster names a cluster's places; nothing is started. The hub has the
// number 0.
func newCluster(number int, name, dir string) *Cluster {
	return &Cluster{
		Name:       name,
		podAddress: fmt.Sprintf("10.95.0.%d", number+1),
		Dir:        dir,
		Kubeconfig: filepath.Join(dir, "admin.kubeconfig"),
		AuditLog:   filepath.Join(dir, "audit.log"),
	}
}

// User signs a client certificate for a user of the cluster and writes a
// kubeconfig file for it to the cluster's folder. The user may do what RBAC
// allows the name and the groups; a name in the form
// system:serviceaccount:<namespace>:<name> acts as that service account.
// Asking again for the same name replaces the file.
func (c *Cluster) User(name string, groups ...string) (cfg *rest.Config, kubeconfig string, err error) {
	if name == "" {
		return nil, "", errors.New("signing a client certificate: the user has no name")
	}
	file := filepath.Join(c.Dir, "user-"+fileName(name)+".kubeconfig")
	cfg, err = c.user(file, c.server, name, groups)
	if err != nil {
		return nil, "", err
	}
	return cfg, file, nil
}

// user signs a client certificate and writes the kubeconfig file. The server is
// the URL at which the user reaches the API server.
func (c *Cluster) user(file, server, name string, groups []string) (*rest.Config, error) {
	ca, err := loadAuthority(c.pkiDir())
	if err != nil {
		return nil, fmt.Errorf("reading the authority of cluster %s: %w", c.Name, err)
	}
	pair, err := ca.client(name, groups)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate for %s of cluster %s: %w", name, c.Name, err)
	}
	content, err := clientcmd.Write(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{
			c.Name: {Server: server, CertificateAuthorityData: c.caPEM},
		},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{
			name: {ClientCertificateData: pair.cert, ClientKeyData: pair.key},
		},
		Contexts: map[string]*clientcmdapi.Context{
			c.Name: {Cluster: c.Name, AuthInfo: name},
		},
		CurrentContext: c.Name,
	})
	if err != nil {
		return nil, fmt.Errorf("writing a kubeconfig for %s of cluster %s: %w", name, c.Name, err)
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		return nil, fmt.Errorf("writing a kubeconfig for %s of cluster %s: %w", name, c.Name, err)
	}
	return loadConfig(file)
}

// loadConfig reads a kubeconfig file into a configuration without client-side
// limits: a lab's clients are tests and should not wait for themselves.
func loadConfig(kubeconfig string) (*rest.Config, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig %s: %w", kubeconfig, err)
	}
	cfg.QPS = -1
	return cfg, nil
}

// fileName turns a user's name into something that can be a file's name.
func fileName(user string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
			return r
		}
		return '-'
	}, user)
}
