// Command promql reads PromQL expressions from standard input, as a JSON list of strings, and writes what they ask for
// to standard output. It fails when one of them is not PromQL.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/prometheus/prometheus/promql/parser"
)

// query is what one expression asks for.
type query struct {
	// Metrics are the names of the series that it reads.
	Metrics []string `json:"metrics"`
	// Matchers are all conditions on labels.
	Matchers []matcher `json:"matchers"`
	// Groups are the labels that it groups or joins by.
	Groups []string `json:"groups"`
}

type matcher struct {
	Label string `json:"label"`
	Value string `json:"value"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	var expressions []string
	if err := json.NewDecoder(os.Stdin).Decode(&expressions); err != nil {
		return fmt.Errorf("reading the expressions: %w", err)
	}
	queries := make([]query, len(expressions))
	var errs []error
	for i, expression := range expressions {
		var err error
		if queries[i], err = parse(expression); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", expression, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(queries)
}

func parse(expression string) (query, error) {
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expression)
	if err != nil {
		return query{}, err
	}
	var q query
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			for _, m := range n.LabelMatchers {
				if m.Name == "__name__" {
					q.Metrics = append(q.Metrics, m.Value)
					continue
				}
				q.Matchers = append(q.Matchers, matcher{m.Name, m.Value})
			}
		case *parser.AggregateExpr:
			q.Groups = append(q.Groups, n.Grouping...)
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				q.Groups = append(q.Groups, n.VectorMatching.MatchingLabels...)
				q.Groups = append(q.Groups, n.VectorMatching.Include...)
			}
		}
		return nil
	})
	return q, nil
}
