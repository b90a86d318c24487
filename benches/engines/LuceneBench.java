// Lucene as a learned-sparse engine: 8-bit impacts are term frequencies, a score is weight * frequency.
//
//     java -cp JAR LuceneBench.java index VECTORS FOLDER          seconds that it took
//     java -cp JAR LuceneBench.java search FOLDER QUERIES K       a line a query: ns, cpu ns, document numbers
//
// VECTORS: for each document its number i32, postings i32, terms u16 each, impacts u8 each, big-endian.
// QUERIES: lines of term, weight, term, weight, ... with spaces between.
import java.io.*;
import java.lang.management.*;
import java.nio.file.*;
import java.util.*;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.core.WhitespaceAnalyzer;
import org.apache.lucene.analysis.tokenattributes.*;
import org.apache.lucene.document.*;
import org.apache.lucene.index.*;
import org.apache.lucene.search.*;
import org.apache.lucene.search.similarities.Similarity;
import org.apache.lucene.store.*;

public class LuceneBench {
  static final int WARM = 2; // passes over the queries before the one that counts, for the compiler

  static class Impact extends Similarity {
    public long computeNorm(FieldInvertState state) {
      return 1;
    }

    public SimScorer scorer(float weight, CollectionStatistics collection, TermStatistics... terms) {
      return new SimScorer() {
        public float score(float frequency, long norm) {
          return weight * frequency;
        }
      };
    }
  }

  /** The postings of one document, as an analysed text. */
  static class Postings extends TokenStream {
    final CharTermAttribute word = addAttribute(CharTermAttribute.class);
    final TermFrequencyAttribute frequency = addAttribute(TermFrequencyAttribute.class);
    byte[] terms, impacts;
    int at;

    void read(DataInputStream in) throws IOException {
      int count = in.readInt();
      in.readFully(terms = new byte[2 * count]);
      in.readFully(impacts = new byte[count]);
      at = 0;
    }

    public boolean incrementToken() {
      if (at == impacts.length) return false;
      clearAttributes();
      word.append(Integer.toString((terms[2 * at] & 255) << 8 | terms[2 * at + 1] & 255));
      frequency.setTermFrequency(impacts[at++] & 255);
      return true;
    }
  }

  public static void main(String[] args) throws Exception {
    if (args[0].equals("index")) index(Path.of(args[1]), Path.of(args[2]));
    else search(Path.of(args[1]), Path.of(args[2]), Integer.parseInt(args[3]));
  }

  static void index(Path vectors, Path folder) throws IOException {
    long since = System.nanoTime();
    IndexWriterConfig config = new IndexWriterConfig(new WhitespaceAnalyzer());
    config.setSimilarity(new Impact()).setRAMBufferSizeMB(1900).setUseCompoundFile(false);
    FieldType frequencies = new FieldType();
    frequencies.setIndexOptions(IndexOptions.DOCS_AND_FREQS);
    frequencies.setOmitNorms(true);
    frequencies.freeze();
    Postings postings = new Postings();
    NumericDocValuesField number = new NumericDocValuesField("number", 0);
    Document document = new Document();
    document.add(new Field("terms", postings, frequencies));
    document.add(number);
    try (IndexWriter writer = new IndexWriter(FSDirectory.open(folder), config);
        InputStream file = new BufferedInputStream(Files.newInputStream(vectors), 1 << 22)) {
      DataInputStream in = new DataInputStream(file);
      for (long left = Files.size(vectors); left > 0; left -= 8 + 3L * postings.impacts.length) {
        number.setLongValue(in.readInt());
        postings.read(in);
        writer.addDocument(document);
      }
      writer.forceMerge(1);
    }
    System.out.println((System.nanoTime() - since) / 1e9);
  }

  static Query query(String line) {
    String[] parts = line.split(" ");
    BooleanQuery.Builder all = new BooleanQuery.Builder();
    for (int at = 0; at < parts.length; at += 2) {
      Query term = new TermQuery(new Term("terms", parts[at]));
      all.add(new BoostQuery(term, Float.parseFloat(parts[at + 1])), BooleanClause.Occur.SHOULD);
    }
    return all.build();
  }

  static void search(Path folder, Path queries, int k) throws IOException {
    List<String> lines = Files.readAllLines(queries);
    ThreadMXBean threads = ManagementFactory.getThreadMXBean();
    try (DirectoryReader reader = DirectoryReader.open(MMapDirectory.open(folder))) {
      IndexSearcher searcher = new IndexSearcher(reader);
      searcher.setSimilarity(new Impact());
      searcher.setQueryCache(null);
      for (int pass = 0; pass <= WARM; pass++) {
        for (String line : lines) {
          long cpu = threads.getCurrentThreadCpuTime(), wall = System.nanoTime();
          TopDocs top = searcher.search(query(line), TopScoreDocCollector.createSharedManager(k, null, k));
          wall = System.nanoTime() - wall;
          cpu = threads.getCurrentThreadCpuTime() - cpu;
          if (pass == WARM) System.out.println(wall + " " + cpu + numbers(reader, top));
        }
      }
    }
  }

  /** The document numbers of the hits, in the order of the index, in which doc values are read. */
  static String numbers(DirectoryReader reader, TopDocs top) throws IOException {
    ScoreDoc[] hits = top.scoreDocs.clone();
    Arrays.sort(hits, Comparator.comparingInt(hit -> hit.doc));
    NumericDocValues values = reader.leaves().get(0).reader().getNumericDocValues("number");
    StringBuilder out = new StringBuilder();
    for (ScoreDoc hit : hits) {
      values.advance(hit.doc);
      out.append(' ').append(values.longValue());
    }
    return out.toString();
  }
}
