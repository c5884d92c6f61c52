package vault

import (
	"context"
	"encoding/json"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab"
)

// The service account with which Vault asks the API server about tokens.
const (
	reviewerNamespace = "vault"
	reviewerName      = "vault-reviewer"
)

// KubernetesOptions say how the kubernetes method asks the API server.
type KubernetesOptions struct {
	// OwnToken asks with the token that is to be judged; its service account
	// needs AllowReviews. Otherwise Vault has a service account of its own.
	OwnToken bool
}

// Kubernetes enables the kubernetes method at a mount, for tokens of service
// accounts of a cluster. The cluster's API server judges each token, in a
// TokenReview.
func (s *Server) Kubernetes(ctx context.Context, mount string, c *lab.Cluster, options KubernetesOptions) error {
	if err := s.enableAuth(ctx, mount, "kubernetes"); err != nil {
		return err
	}
	config := map[string]any{
		"kubernetes_host":      c.Config.Host,
		"kubernetes_ca_cert":   string(c.Config.CAData),
		"disable_local_ca_jwt": true, // Vault is in no pod
	}
	if !options.OwnToken {
		token, err := ServiceAccountToken(ctx, c, reviewerNamespace, reviewerName)
		if err != nil {
			return err
		}
		if err := AllowReviews(ctx, c, reviewerNamespace, reviewerName); err != nil {
			return err
		}
		config["token_reviewer_jwt"] = token
	}
	_, err := s.write(ctx, "auth/"+mount+"/config", config)
	return err
}

// KubernetesRole writes a role of the kubernetes method for one service
// account. With an audience, a token has to be meant for it.
func (s *Server) KubernetesRole(ctx context.Context, mount string, role Role, namespace, account, audience string) error {
	data := map[string]any{"bound_service_account_namespaces": namespace, "bound_service_account_names": account}
	if audience != "" {
		data["audience"] = audience
	}
	_, err := s.write(ctx, "auth/"+mount+"/role/"+role.Name, role.data(data))
	return err
}

// JWT enables the jwt method at a mount, for tokens of service accounts of a
// cluster. Vault fetches the cluster's public keys over TLS and judges the
// tokens itself, so that one of an account that is gone stays good.
func (s *Server) JWT(ctx context.Context, mount string, c *lab.Cluster) error {
	if err := s.enableAuth(ctx, mount, "jwt"); err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(c.Config)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	document, err := client.RESTClient().Get().AbsPath("/.well-known/openid-configuration").DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("asking for the issuer of tokens: %w", err)
	}
	var discovery struct {
		Issuer string `json:"issuer"`
	}
	if err := json.Unmarshal(document, &discovery); err != nil {
		return fmt.Errorf("reading the issuer of tokens: %w", err)
	}
	// The method asks for the keys without any credential.
	err = bind(ctx, client, "vault-keys", "system:service-account-issuer-discovery",
		rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "system:unauthenticated"})
	if err != nil {
		return err
	}
	_, err = s.write(ctx, "auth/"+mount+"/config", map[string]any{
		"jwks_url":     c.Config.Host + "/openid/v1/jwks",
		"jwks_ca_pem":  string(c.Config.CAData),
		"bound_issuer": discovery.Issuer,
	})
	return err
}

// JWTRole writes a role of the jwt method for one service account and one
// audience.
func (s *Server) JWTRole(ctx context.Context, mount string, role Role, namespace, account, audience string) error {
	_, err := s.write(ctx, "auth/"+mount+"/role/"+role.Name, role.data(map[string]any{
		"role_type":       "jwt",
		"bound_audiences": audience,
		"bound_subject":   "system:serviceaccount:" + namespace + ":" + account,
		"user_claim":      "sub",
	}))
	return err
}

// ServiceAccountToken returns a token of a service account, for a day, from the
// cluster's API server. Namespace and account are made if they are missing.
// Without audiences it is meant for the API server.
func ServiceAccountToken(ctx context.Context, c *lab.Cluster, namespace, name string, audiences ...string) (string, error) {
	client, err := kubernetes.NewForConfig(c.Config)
	if err != nil {
		return "", fmt.Errorf("making a client: %w", err)
	}
	_, err = client.CoreV1().Namespaces().Create(ctx,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return "", fmt.Errorf("making namespace %s: %w", namespace, err)
	}
	accounts := client.CoreV1().ServiceAccounts(namespace)
	_, err = accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return "", fmt.Errorf("making service account %s/%s: %w", namespace, name, err)
	}
	seconds := int64(24 * 60 * 60)
	request, err := accounts.CreateToken(ctx, name, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("asking for a token of service account %s/%s: %w", namespace, name, err)
	}
	return request.Status.Token, nil
}

// AllowReviews lets a service account ask the API server about tokens.
func AllowReviews(ctx context.Context, c *lab.Cluster, namespace, name string) error {
	client, err := kubernetes.NewForConfig(c.Config)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	return bind(ctx, client, namespace+"-"+name+"-reviews", "system:auth-delegator",
		rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name})
}

// bind gives a subject a role in the whole cluster, unless there is a binding
// of the name.
func bind(ctx context.Context, client kubernetes.Interface, name, role string, subject rbacv1.Subject) error {
	_, err := client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{subject},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("making the binding %s: %w", name, err)
	}
	return nil
}
