package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"

	"github.com/fleet-handshake/fleet-handshake/e2e/lab/internal/wait"
)

// fieldManager is the name under which a lab applies objects.
const fieldManager = "lab"

// crdGVR is the resource of CustomResourceDefinitions.
var crdGVR = schema.GroupVersionResource{
	Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions",
}

// establishTimeout bounds how long a new kind takes to be served.
const establishTimeout = 30 * time.Second

// Apply applies YAML or JSON files, or all such files in folders and below,
// with server-side apply as field manager "lab" and taking over fields others
// own. CustomResourceDefinitions come first and are waited for, then
// namespaces, then the rest in the order it was found.
func (c *Cluster) Apply(ctx context.Context, paths ...string) error {
	var objects []*unstructured.Unstructured
	for _, path := range paths {
		found, err := readObjects(path)
		if err != nil {
			return fmt.Errorf("applying %s to cluster %s: %w", path, c.Name, err)
		}
		objects = append(objects, found...)
	}
	return c.ApplyObjects(ctx, objects...)
}

// ApplyObjects applies objects in the way of Apply.
func (c *Cluster) ApplyObjects(ctx context.Context, objects ...*unstructured.Unstructured) error {
	client, err := dynamic.NewForConfig(c.Config)
	if err != nil {
		return fmt.Errorf("making a client for cluster %s: %w", c.Name, err)
	}
	discoverer, err := discovery.NewDiscoveryClientForConfig(c.Config)
	if err != nil {
		return fmt.Errorf("making a client for cluster %s: %w", c.Name, err)
	}
	applier := applier{
		client: client,
		mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(discoverer)),
	}

	ordered := slices.Clone(objects)
	slices.SortStableFunc(ordered, func(a, b *unstructured.Unstructured) int { return rank(a) - rank(b) })
	waited := false
	for i, object := range ordered {
		if !waited && rank(object) > 0 {
			if err := applier.established(ctx, ordered[:i]); err != nil {
				return fmt.Errorf("cluster %s: %w", c.Name, err)
			}
			waited = true
		}
		if err := applier.apply(ctx, object); err != nil {
			return fmt.Errorf("applying %s to cluster %s: %w", describe(object), c.Name, err)
		}
	}
	if !waited {
		if err := applier.established(ctx, ordered); err != nil {
			return fmt.Errorf("cluster %s: %w", c.Name, err)
		}
	}
	return nil
}

// rank sorts objects into those others need and those that need them.
func rank(object *unstructured.Unstructured) int {
	switch object.GetKind() {
	case "CustomResourceDefinition":
		return 0
	case "Namespace":
		return 1
	}
	return 2
}

// applier applies objects of any kind.
type applier struct {
	client dynamic.Interface
	mapper *restmapper.DeferredDiscoveryRESTMapper
}

// apply applies one object. A kind that was only just defined may take a
// moment to be found.
func (a applier) apply(ctx context.Context, object *unstructured.Unstructured) error {
	gvk := object.GroupVersionKind()
	var mapping *meta.RESTMapping
	mappingCtx, cancel := context.WithTimeout(ctx, establishTimeout)
	defer cancel()
	err := wait.For(mappingCtx, "kind "+gvk.Kind+" to be served", func(context.Context) error {
		var err error
		if mapping, err = a.mapper.RESTMapping(gvk.GroupKind(), gvk.Version); meta.IsNoMatchError(err) {
			a.mapper.Reset()
		}
		return err
	})
	if err != nil {
		return err
	}

	var resource dynamic.ResourceInterface = a.client.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		namespace := object.GetNamespace()
		if namespace == "" {
			namespace = metav1.NamespaceDefault
		}
		resource = a.client.Resource(mapping.Resource).Namespace(namespace)
	}
	_, err = resource.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	return err
}

// established waits until the API server serves what the definitions define.
func (a applier) established(ctx context.Context, definitions []*unstructured.Unstructured) error {
	ctx, cancel := context.WithTimeout(ctx, establishTimeout)
	defer cancel()
	for _, definition := range definitions {
		name := definition.GetName()
		err := wait.For(ctx, "the definition "+name+" to be established", func(ctx context.Context) error {
			crd, err := a.client.Resource(crdGVR).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			conditions, _, err := unstructured.NestedSlice(crd.Object, "status", "conditions")
			if err != nil {
				return err
			}
			for _, condition := range conditions {
				fields, _ := condition.(map[string]any)
				if fields["type"] == "Established" && fields["status"] == "True" {
					return nil
				}
			}
			return wait.ErrNotYet
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// describe names an object in an error.
func describe(object *unstructured.Unstructured) string {
	name := object.GetName()
	if namespace := object.GetNamespace(); namespace != "" {
		name = namespace + "/" + name
	}
	return object.GetKind() + " " + name
}

// readObjects reads the objects of a file, or of all files below a folder.
func readObjects(path string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	err := filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if file != path && !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(file)) {
			return nil
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		found, err := ParseObjects(content)
		if err != nil {
			return fmt.Errorf("reading %s: %w", file, err)
		}
		objects = append(objects, found...)
		return nil
	})
	return objects, err
}

// ParseObjects reads a stream of YAML or JSON documents; lists are unpacked
// and empty documents skipped.
func ParseObjects(content []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		switch {
		case len(object.Object) == 0:
		case object.IsList():
			err = object.EachListItem(func(item runtime.Object) error {
				objects = append(objects, item.(*unstructured.Unstructured))
				return nil
			})
			if err != nil {
				return nil, err
			}
		case object.GetKind() == "" || object.GetName() == "":
			return nil, fmt.Errorf("object %d has no kind or no name", len(objects)+1)
		default:
			objects = append(objects, object)
		}
	}
}
