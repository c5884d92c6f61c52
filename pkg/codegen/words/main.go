// Command words prints the words of the API that no type lists as a Markdown chapter: condition types, reasons of
// conditions and events, labels and annotations. It reads their constants and comments.
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "words:", err)
		os.Exit(1)
	}
}

func run(files []string) error {
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		for _, d := range file.Decls {
			if block, ok := d.(*ast.GenDecl); ok && block.Tok == token.CONST && block.Lparen.IsValid() && block.Doc != nil {
				printBlock(block)
			}
		}
	}
	return nil
}

// printBlock prints a block of untyped string constants; the others are listed with their type.
func printBlock(block *ast.GenDecl) {
	title, rest, _ := strings.Cut(oneLine(block.Doc), ".")
	printed := false
	for _, s := range block.Specs {
		spec, ok := s.(*ast.ValueSpec)
		if !ok || spec.Type != nil || len(spec.Values) != 1 {
			continue
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			continue
		}
		if !printed {
			fmt.Printf("\n### %s\n", title)
			if rest = strings.TrimSpace(rest); rest != "" {
				fmt.Printf("\n%s\n", rest)
			}
			fmt.Print("\n| word | meaning |\n| --- | --- |\n")
			printed = true
		}
		value, _ := strconv.Unquote(literal.Value)
		fmt.Printf("| `%s` | %s |\n", value, meaning(spec))
	}
}

// meaning is the comment of a constant, without its name.
func meaning(spec *ast.ValueSpec) string {
	text := strings.TrimPrefix(oneLine(spec.Doc), spec.Names[0].Name)
	return strings.TrimSpace(strings.TrimPrefix(text, ":"))
}

func oneLine(comment *ast.CommentGroup) string {
	return strings.Join(strings.Fields(comment.Text()), " ")
}
