package store

import (
	"strconv"
	"strings"
)

const (
	// namePrefix begins the name of each Secret of the store.
	namePrefix = "entry-"
	// maxSecretName is the longest name of an object in Kubernetes, in bytes.
	maxSecretName = 253

	markNamespaced = "n"
	markGlobal     = "g"
	markEscaped    = "x"
)

// SecretName is the name of the Secret that holds the entry, in the namespace of its tenant:
//
//	entry-n1.paris.apps.db              cluster paris, namespace apps, name db
//	entry-g2.paris.example.registry     cluster paris.example, global, name registry
//	entry-nx1.paris.apps.qcdbqu1        cluster paris, namespace apps, name Db_1
//
// No two places of a tenant have the same name, because the place can be read back from it, as placeOf does:
//
//  1. The first part ends at the first dot. It says whether there is a namespace (n or g), whether the name is escaped
//     (x), and how many parts the cluster has.
//  2. That many parts after it, with their dots, are the cluster.
//  3. With n, the next part is the namespace: it has no dot in it.
//  4. What is left is the name, as it is or escaped. Which of the two is known from 1.
//  5. An escaped name is read from left to right in one way only: q always begins an escape, the byte after it says how
//     long that is, and each byte that is not escaped stands for itself.
//
// A hash would have made all names short, and equal ones only unlikely. This way some places are too long: Entry.Check
// says so. For a place that it refuses, the name can be one that no Secret can have.
func (p Place) SecretName() string {
	mark := markNamespaced
	if p.Global() {
		mark = markGlobal
	}
	name := p.Name
	if !isSubdomain(name) {
		mark += markEscaped
		name = escape(name)
	}
	parts := []string{namePrefix + mark + strconv.Itoa(strings.Count(p.Cluster, ".")+1), p.Cluster}
	if !p.Global() {
		parts = append(parts, p.Namespace)
	}
	return strings.Join(append(parts, name), ".")
}

// placeOf is the place of the Secret with a name in the namespace of a tenant. It is false for a name that SecretName
// does not give.
func placeOf(tenant, secretName string) (Place, bool) {
	p := Place{Tenant: tenant}
	parts := strings.Split(secretName, ".")
	mark, ok := strings.CutPrefix(parts[0], namePrefix)
	mark, global := strings.CutPrefix(mark, markGlobal)
	mark, namespaced := strings.CutPrefix(mark, markNamespaced)
	mark, escaped := strings.CutPrefix(mark, markEscaped)
	inCluster, err := strconv.Atoi(mark)
	rest := parts[1:]
	if !ok || global == namespaced || err != nil || inCluster < 1 || inCluster >= len(rest) {
		return Place{}, false
	}
	p.Cluster, rest = strings.Join(rest[:inCluster], "."), rest[inCluster:]
	if namespaced {
		p.Namespace, rest = rest[0], rest[1:]
	}
	p.Name = strings.Join(rest, ".")
	if escaped {
		p.Name = unescape(p.Name)
	}
	// What is read from another name, such as entry-n01, is not the place of this one.
	return p, p.Name != "" && p.SecretName() == secretName
}

// escape writes a name of a raw or workload entry as one DNS label: q as qq, a dot as qd, _ as qu, and an upper-case letter
// as qc and the lower-case one. Names begin and end with a letter or digit, and so do escapes.
func escape(name string) string {
	var out strings.Builder
	for _, b := range []byte(name) {
		switch {
		case b == 'q':
			out.WriteString("qq")
		case b == '.':
			out.WriteString("qd")
		case b == '_':
			out.WriteString("qu")
		case b >= 'A' && b <= 'Z':
			out.WriteString("qc" + string(rune(b-'A'+'a')))
		default:
			out.WriteByte(b)
		}
	}
	return out.String()
}

// unescape gives something for each text; escape of that is the text when escape can have given it.
func unescape(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != 'q' || i+1 == len(text) {
			out.WriteByte(text[i])
			continue
		}
		i++
		switch text[i] {
		case 'd':
			out.WriteByte('.')
		case 'u':
			out.WriteByte('_')
		case 'c':
			if i++; i < len(text) {
				out.WriteString(strings.ToUpper(text[i : i+1]))
			}
		default:
			out.WriteByte(text[i])
		}
	}
	return out.String()
}

// labelValue is what a name has as the value of a label: the name, cut where it is too long. Names that are cut can have
// the same one.
func labelValue(name string) string {
	const maxLabelValue = 63
	if len(name) <= maxLabelValue {
		return name
	}
	return strings.TrimRight(name[:maxLabelValue], "-.")
}
